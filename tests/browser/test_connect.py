"""Sinks and keys in the console: secrets are shown once, and every act asks or tells."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser.browser import Watch, settle
from tests.browser.console import Console
from tests.receivers import Receiver
from usher.core.domain.keys import Scope

AsOwner = Callable[..., tuple[Page, Watch]]


def once(page: Page, label: str) -> str:
    """The text that is shown once; then it is put away."""
    shown = page.get_by_role("region", name=label, exact=True)
    expect(shown).to_be_focused()
    text = shown.inner_text()
    page.get_by_role("button", name="Done").click()
    expect(shown).to_have_count(0)
    return text


def test_a_sink_is_added_tried_paused_rotated_and_removed(
    as_owner: AsOwner, populated: Console
) -> None:
    """A real receiver is asked; its secrets are nowhere once they were shown."""
    page, _ = as_owner("/#/connect/sinks")
    dialog = page.get_by_role("dialog")
    with Receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/hooks"
        page.get_by_role("button", name="Add a sink").click()
        dialog.get_by_label("Address").fill(url)
        dialog.get_by_label("Every change").uncheck()
        dialog.get_by_role("button", name="Add it").click()
        expect(dialog.get_by_text("Choose one at least.")).to_be_visible()
        for kind in ("user.created", "role.granted"):
            dialog.get_by_role("checkbox", name=kind).check()
        dialog.get_by_role("button", name="Add it").click()
        secrets = [once(page, "Secret")]
        row = page.locator("[data-sink]", has_text=url)
        expect(row).to_contain_text("role.granted")
        expect(row).to_contain_text("by ids alone")
        row.get_by_role("button", name="Test").click()
        expect(row).to_contain_text("Status 204")
        (came,) = receiver.came
        assert came.headers["webhook-signature"].startswith("v1,")
        receiver.answers.append((500, {}))
        row.get_by_role("button", name="Test").click()
        expect(row.get_by_role("alert")).to_contain_text("500")

        row.get_by_role("button", name="Pause").click()
        dialog.get_by_label("Reason").fill("Moves")
        dialog.get_by_role("button", name="Pause").click()
        expect(row).to_contain_text("Paused just now by you")
        row.get_by_role("button", name="Resume").click()
        expect(row).to_contain_text("Active")
        row.get_by_role("button", name="New secret").click()
        dialog.get_by_role("button", name="Give it a new secret").click()
        secrets.append(once(page, "Secret"))
        expect(row).to_contain_text("the secret from before signs, too, until")
        row.get_by_role("button", name="New secret").click()
        dialog.get_by_label("End the secret from before at once").check()
        dialog.get_by_role("button", name="Give it a new secret").click()
        secrets.append(once(page, "Secret"))
        expect(row).not_to_contain_text("signs, too")
        assert len({*secrets}) == 3
        page.reload()
        settle(page)
        body = page.locator("body").inner_text()
        assert not any(each in body for each in secrets)

        row.get_by_role("button", name="Remove").click()
        dialog.get_by_role("button", name="Remove").click()
        expect(row).to_have_count(0)
    assert url not in {sink.url for sink in populated.app.sinks.all()}


def test_an_address_that_no_webhook_may_go_to_stays_in_the_dialog(as_owner: AsOwner) -> None:
    """With the reason, so that it can be mended."""
    page, watch = as_owner("/#/connect/sinks")
    watch.expect(400)
    page.get_by_role("button", name="Add a sink").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Address").fill("https://10.0.0.1/hooks")
    dialog.get_by_role("button", name="Add it").click()
    expect(dialog.get_by_role("alert")).to_contain_text("address that is not public")
    expect(dialog.get_by_label("Address")).to_have_value("https://10.0.0.1/hooks")


def test_a_sink_whose_receiver_is_gone_says_so(as_owner: AsOwner) -> None:
    """Nobody paused it, so nobody is named."""
    page, _ = as_owner("/#/overview")
    gone: dict[str, Any] = {
        "id": "11111111-1111-4111-8111-111111111111",
        "url": "https://gone.example.com/",
        "changes": ["*"],
        "full": False,
        "state": "paused",
        "old_secret_until": None,
        "created_at": "2026-11-23T12:00:00Z",
        "created_by": "cli:ada",
        "paused_at": "2026-11-24T12:00:00Z",
        "paused_by": "sink:11111111-1111-4111-8111-111111111111",
    }
    page.route("**/api/sinks", lambda route: route.fulfill(json={"sinks": [gone]}))
    page.evaluate("location.hash = '#/connect/sinks'")
    expect(page.locator("[data-sink]")).to_contain_text("the receiver answered that it is gone")


def test_a_key_is_made_shown_once_used_and_revoked(as_owner: AsOwner, populated: Console) -> None:
    """It opens what its scope says, until it is revoked; the list never shows it."""
    page, watch = as_owner("/#/connect/keys")
    page.get_by_role("button", name="Make a key").click()
    dialog = page.get_by_role("dialog")
    name, make = (
        dialog.get_by_label("Name", exact=True),
        dialog.get_by_role("button", name="Make it"),
    )
    name.fill("nightly-report")
    make.click()
    expect(dialog.get_by_text("Choose one at least.")).to_be_visible()
    dialog.get_by_role("checkbox", name=re.compile("^Read people")).check()
    make.click()
    key = once(page, "Key")
    (kept,) = (k for k in populated.app.keys.page().items if k.name == "nightly-report")
    assert kept.scopes == {Scope.USERS_READ}
    assert kept.expires_at is not None
    assert 89 <= (kept.expires_at - kept.created_at).days <= 90
    assert populated.ask("GET", "/api/users", None, key)[0] == 200
    page.reload()
    row = page.locator("[data-key=nightly-report]")
    expect(row).to_contain_text("May read people.")
    expect(row).to_contain_text("last used just now")
    assert key not in page.locator("body").inner_text()

    watch.expect(409)
    page.get_by_role("button", name="Make a key").click()
    name.fill("nightly-report")
    dialog.get_by_role("checkbox", name=re.compile("^Name its clients")).check()
    dialog.get_by_role("button", name="It ends: never").click()
    make.click()
    expect(dialog.get_by_role("alert")).to_contain_text("nightly-report")
    dialog.get_by_role("button", name="Cancel").click()

    row.get_by_role("button", name="Revoke").click()
    dialog.get_by_label("Reason").fill("The report is gone")
    dialog.get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("Revoked")
    expect(row.get_by_role("button", name="Revoke")).to_have_count(0)
    assert populated.ask("GET", "/api/users", None, key)[0] == 401


def test_the_audit_names_keys_and_sinks(as_owner: AsOwner) -> None:
    """In words, with the facts of each."""
    page, _ = as_owner("/#/audit?action=key.revoked")
    timeline: Locator = page.locator(".timeline")
    expect(timeline).to_contain_text("Key intern")
    page.get_by_label("Action").select_option("sink.paused")
    settle(page)
    expect(timeline).to_contain_text("crm.example.com")
