"""People who wait, and what they ask for: their own page, and the administrators' decisions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.browser import Watch, settle, sign_in
from tests.browser.console import BOB, OLIVIA, PASSWORD, WANDA, Console, alone, console
from tests.browser.people import NEWCOMER, OWNER, PLAIN
from usher.core.domain.records import Status

Visit = Callable[..., tuple[Page, Watch]]
OTHERS = [(name.title(), f"{name}@newcomers.example") for name in ("ada", "eve", "kim")]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Console]:
    """A console with four people who wait, the owner, and Bob."""
    with console(tmp_path, alone(OLIVIA, BOB, WANDA, *OTHERS)) as running:
        yield running


def row(page: Page, name: str) -> Locator:
    """Somebody's request."""
    return page.locator("[data-request]", has_text=f"{name.lower()}@newcomers.example")


def request_of(site: Console, name: str, token: str) -> str:
    """The address of somebody's open request."""
    _, found = site.ask("GET", "/api/requests", token=token)
    return next(
        f"/api/requests/{each['id']}"
        for each in found["requests"]
        if each["user"]["email"].startswith(name)
    )


def test_requests_are_decided_one_by_one_or_several_at_once(visit: Visit, site: Console) -> None:
    """With roles, a reason and a sentence; those decided elsewhere are told, and shown as now."""
    users = site.app.store.users
    wanda = users.find(NEWCOMER)
    site.app.requests.ask(wanda, None, "I am the treasurer.", f"user:{wanda.id}")
    page, watch = visit(site)
    sign_in(page, OWNER)
    link = page.get_by_role("navigation").get_by_role("link", name="Requests")
    expect(link).to_contain_text("4 open")
    link.click()
    settle(page)
    expect(row(page, "Wanda")).to_contain_text("I am the treasurer.")
    expect(row(page, "Wanda")).to_contain_text("The policy lets them wait: asks about everybody")
    expect(row(page, "Wanda")).to_contain_text("Let in, they get member")

    row(page, "Wanda").get_by_role("button", name="Approve").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Roles", exact=True).fill("editor\n")
    dialog.get_by_role("button", name="In a week").click()
    dialog.get_by_label("Reason").fill("Met her")
    dialog.get_by_role("button", name="Approve", exact=True).click()
    expect(row(page, "Wanda")).to_contain_text("Approved by you")
    expect(row(page, "Wanda").get_by_role("link", name="Wanda Newcomer")).to_be_focused()
    expect(link).to_contain_text("3 open")
    let_in = users.get(wanda.id)
    assert let_in.status is Status.ACTIVE
    assert {each.role: each.reason for each in let_in.grants}["editor"] == "Met her"
    assert next(each for each in let_in.grants if each.role == "editor").expires_at is not None

    token = site.log_in(OWNER, PASSWORD)
    assert site.ask("POST", f"{request_of(site, 'ada', token)}/approve", {}, token)[0] == 200
    watch.expect(409)
    page.get_by_label("Choose all shown").check()
    page.get_by_role("button", name="Decline those chosen").click()
    dialog.get_by_label("Sentence for the person").fill("Please write to the board first.")
    dialog.get_by_role("button", name="Decline", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("ada@newcomers.example")
    expect(page.get_by_role("alert")).to_contain_text("The request was approved already.")
    expect(row(page, "Ada")).to_contain_text("Approved by you")
    expect(row(page, "Eve")).to_contain_text("They read: Please write to the board first.")
    expect(row(page, "Kim").get_by_role("checkbox")).to_have_count(0)
    expect(link.locator(".badge")).to_be_empty()
    page.reload()
    expect(page.get_by_text("Nobody waits for you")).to_be_visible()

    page.get_by_text("Declined", exact=True).click()
    row(page, "Kim").get_by_role("button", name="Approve").click()
    dialog.get_by_role("button", name="Approve", exact=True).click()
    expect(row(page, "Kim")).to_contain_text("Approved by you")
    assert users.find("kim@newcomers.example").status is Status.ACTIVE


def test_a_person_who_waits_reads_why_and_asks(visit: Visit, site: Console) -> None:
    """Their own page says what it means, takes their words, and has the answer."""
    token = site.log_in(OWNER, PASSWORD)
    page, watch = visit(site, "/#/users")
    sign_in(page, NEWCOMER)
    expect(page.get_by_role("heading", name="Waiting for approval", level=1)).to_be_focused()
    expect(page.get_by_role("navigation")).to_have_count(0)
    page.get_by_label("What should they know about you?").fill("I am the <b>treasurer</b>.")
    page.get_by_role("button", name="Send").click()
    expect(page.locator("q")).to_have_text("I am the <b>treasurer</b>.")
    refusal = {"message": "Please write to the board first."}
    assert site.ask("POST", f"{request_of(site, 'wanda', token)}/decline", refusal, token)[0] == 200
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_role("heading", name="Your request was declined")).to_be_visible()
    expect(page.get_by_role("alert")).to_contain_text("Please write to the board first.")
    page.get_by_label("What should they know about you?").fill("The board knows me.")
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_role("heading", name="Waiting for approval")).to_be_visible()
    assert site.ask("POST", f"{request_of(site, 'wanda', token)}/approve", {}, token)[0] == 200
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_role("heading", name="Your roles")).to_be_visible()

    page.get_by_label("Role", exact=True).fill("editor")
    page.get_by_label("What do you need it for?").fill("The newsletter")
    page.get_by_role("button", name="Ask for the role").click()
    expect(page.locator("[data-request]").first).to_contain_text("The newsletter")
    assert request_of(site, "wanda", token)
    page.get_by_role("button", name="Take back the request for editor").click()
    expect(page.locator("[data-request]")).to_have_count(2)  # those to be let in
    watch.expect(409)
    page.get_by_label("Role", exact=True).fill("member")
    page.get_by_role("button", name="Ask for the role").click()
    expect(page.get_by_role("alert")).to_contain_text("You have the role 'member' already.")


def test_every_page_says_that_usher_only_observes(visit: Visit, tmp_path: Path) -> None:
    """A banner over the console and over a person's own page, also of one who waits."""
    with console(tmp_path, alone(OLIVIA, BOB, WANDA), USHER_MODE="observe") as site:
        page, _ = visit(site)
        sign_in(page, OWNER)
        page.get_by_role("navigation").wait_for()
        for view in ("overview", "policy", "nowhere"):
            page.evaluate("view => { location.hash = view; }", f"#/{view}")
            expect(page.locator(".banner")).to_contain_text("Usher only observes")
        page.get_by_role("button", name="Sign out").click()
        sign_in(page, PLAIN)
        page.get_by_role("heading", name="Your roles").wait_for()
        expect(page.locator(".banner")).to_contain_text("nobody is refused")
        page.get_by_role("button", name="Sign out").click()
        sign_in(page, NEWCOMER)
        page.get_by_role("heading", name="Waiting for approval").wait_for()
        expect(page.locator(".banner")).to_contain_text("nobody is refused")
