"""The loop in a browser: sign up, open the mail, log in, be given a role, lose it again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.browser import Watch, keep, sign_in
from tests.browser.console import DENIED, TRIES, Console
from tests.browser.people import OWNER

Visit = Callable[..., tuple[Page, Watch]]
CHOSEN = "a long password"


def make_account(page: Page, name: str, email: str) -> None:
    """Fill in the door's form."""
    page.get_by_role("button", name="Make an account").click()
    page.get_by_label("Name").fill(name)
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("New password").fill(CHOSEN)
    page.get_by_role("button", name="Sign up").click()


def open_mail(page: Page, site: Console, subject: str = "") -> None:
    """Open the inbox and click the newest link."""
    page.goto(f"{site.url}/_dev/mail")
    expect(page.get_by_role("heading", level=2).first).to_contain_text(subject)
    page.locator("article a").first.click()


def join(page: Page, site: Console, name: str, email: str) -> None:
    """Sign up and confirm; the person is then signed in."""
    make_account(page, name, email)
    page.get_by_role("heading", name="Look into your mail").wait_for()
    open_mail(page, site, "Confirm")
    page.get_by_text("Your address is confirmed").wait_for()


def roles_in_token(token: str) -> list[str]:
    """What an access token says, unverified."""
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    roles: list[str] = claims["app_metadata"]["roles"]
    return roles


def test_from_signing_up_to_a_role_given_and_taken_away(visit: Visit, fresh: Console) -> None:
    """Each step shows in the page; the API obeys at once, the token from the next login on."""
    theirs, _ = visit(fresh)
    join(theirs, fresh, "Ada Lovelace", "ada@b.example")
    expect(theirs.get_by_role("heading", name="Ada Lovelace")).to_be_visible()
    expect(theirs.locator("#main .role-list")).to_contain_text("member")
    keep(theirs, "own-page")
    token = fresh.log_in("ada@b.example", CHOSEN)
    assert roles_in_token(token) == ["member"]

    owners, _ = visit(fresh)
    join(owners, fresh, "Olivia Wren", OWNER)
    owners.get_by_role("navigation").get_by_role("link", name="Users").click()
    owners.get_by_role("link", name="Ada Lovelace").click()
    owners.get_by_role("button", name="Give a role").click()
    dialog = owners.get_by_role("dialog")
    dialog.get_by_label("Role").fill("editor")
    dialog.get_by_label("Reason").fill("Writes the newsletter")
    dialog.get_by_role("button", name="Give the role").click()
    item = owners.locator("[data-role=editor]")
    expect(item).to_contain_text("Writes the newsletter")
    assert fresh.ask("GET", "/api/me", token=token)[1]["roles"] == ["editor", "member"]
    token = fresh.log_in("ada@b.example", CHOSEN)
    assert roles_in_token(token) == ["editor", "member"]
    theirs.get_by_role("button", name="Look again").click()
    expect(theirs.locator("#main .role-list")).to_contain_text("editor")

    item.get_by_role("button", name="Take away editor").click()
    owners.get_by_role("dialog").get_by_role("button", name="Take away editor").click()
    expect(item).to_have_count(0)
    assert fresh.ask("GET", "/api/me", token=token)[1]["roles"] == ["member"]
    assert roles_in_token(fresh.log_in("ada@b.example", CHOSEN)) == ["member"]


def test_b3_a_role_with_a_slash_is_given_and_taken_away(visit: Visit, fresh: Console) -> None:
    """No address can hold it, so that the console sets all roles at once; the others stay."""
    owners, _ = visit(fresh)
    join(owners, fresh, "Olivia Wren", OWNER)
    owners.get_by_role("link", name="Your record").click()
    for role in ("team/ops", "..", "plain role"):
        owners.get_by_role("button", name="Give a role").click()
        dialog = owners.get_by_role("dialog")
        dialog.get_by_label("Role").fill(role)
        dialog.get_by_role("button", name="Give the role").click()
        item = owners.locator(f'[data-role="{role}"]')
        expect(item).to_be_visible()
        expect(owners.locator('[data-role="admin"]')).to_be_visible()
        item.get_by_role("button", name=f"Take away {role}").click()
        owners.get_by_role("dialog").get_by_role("button", name=f"Take away {role}").click()
        expect(item).to_have_count(0)
        expect(owners.locator('[data-role="admin"]')).to_be_visible()


def test_who_is_denied_reads_identitys_refusal(visit: Visit, fresh: Console) -> None:
    """Where the site tells no more; no mail goes out; the rule's message is in the ledger."""
    page, watch = visit(fresh)
    watch.expect(422, 404)
    make_account(page, "Promo", "promo@mailinator.com")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Failed to handle signup webhook")
    expect(alert).to_contain_text("may not admit this address")
    assert fresh.ask("GET", "/_dev/mail")[1]["mails"] == []
    [denied] = fresh.app.store.ledger.page(limit=5).items
    assert (denied.event, denied.outcome) == ("validate", "denied")


def test_door_of_the_console_shows_the_policys_sentence(visit: Visit, telling: Console) -> None:
    """In the place of Identity's; a weak password is still refused in Identity's words."""
    page, watch = visit(telling)
    watch.expect(422)
    make_account(page, "Promo", "Promo@mailinator.com")
    alert = page.get_by_role("alert")
    alert.wait_for()
    for _ in range(TRIES):
        if DENIED in alert.inner_text():
            break
        with page.expect_response("**/api/door"):
            page.get_by_role("button", name="Sign up").click()
        alert.wait_for()
    expect(alert).to_contain_text(DENIED)
    expect(alert).not_to_contain_text("webhook")
    keep(page, "door-refused")
    page.get_by_label("E-mail").fill("ada@b.example")
    page.get_by_role("button", name="Sign up").click()
    page.get_by_role("heading", name="Look into your mail").wait_for()


def test_recovery_invitation_and_another_address(visit: Visit, fresh: Console) -> None:
    """What mails are for: a lost password, an invitation, a move to another address."""
    owners, watch = visit(fresh)
    join(owners, fresh, "Olivia Wren", OWNER)
    owners.get_by_role("button", name="Sign out").click()
    owners.get_by_text("You are signed out").wait_for()

    owners.get_by_role("button", name="Forgot the password?").click()
    owners.get_by_label("E-mail").fill(OWNER)
    owners.get_by_role("button", name="Send the link").click()
    owners.get_by_text("a link is on its way").wait_for()
    open_mail(owners, fresh, "Reset")
    owners.get_by_label("New password").fill("another password")
    owners.get_by_role("button", name="Save and continue").click()
    owners.get_by_text("Your new password is saved").wait_for()
    owners.get_by_role("button", name="Sign out").click()
    watch.expect(400)
    sign_in(owners, OWNER, CHOSEN)
    expect(owners.get_by_role("alert")).to_contain_text("password invalid")
    sign_in(owners, OWNER, "another password")

    owners.get_by_role("navigation").get_by_role("link", name="Users").click()
    owners.get_by_role("button", name="Invite").click()
    dialog = owners.get_by_role("dialog")
    dialog.get_by_label("E-mail").fill("guest@b.example")
    dialog.get_by_label("Name").fill("Grace Guest")
    dialog.get_by_role("button", name="Send the invitation").click()
    expect(owners.get_by_role("heading", name="Grace Guest")).to_be_visible()
    expect(owners.locator("#main .lead")).to_contain_text("Pending")

    guests, _ = visit(fresh)
    open_mail(guests, fresh, "invited")
    guests.get_by_label("New password").fill(CHOSEN)
    guests.get_by_role("button", name="Accept the invitation").click()
    guests.get_by_text("Welcome!").wait_for()
    expect(guests.get_by_role("heading", name="Grace Guest")).to_be_visible()

    token = fresh.log_in("guest@b.example", CHOSEN)
    change = {"email": "grace@c.example"}
    assert fresh.ask("PUT", "/.netlify/identity/user", change, token)[0] == 200
    open_mail(guests, fresh, "Email Change")
    guests.get_by_text("Your new address is confirmed").wait_for()
    assert fresh.log_in("grace@c.example", CHOSEN)
