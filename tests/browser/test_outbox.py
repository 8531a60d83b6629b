"""The outbox in the console: what waits or failed, and what an event or a person led to."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from playwright.sync_api import Page, expect
from sqlalchemy import update

from tests.browser.browser import Watch, keep, settle
from tests.browser.console import Console
from tests.browser.people import PLAIN
from tests.browser.waiting import ERROR, HANDLER, let_wait
from usher.core.domain.outbox_view import AT_WORK
from usher.core.store.filters import AuditFilters, DeliveryFilters
from usher.core.store.tables import CONSUMERS

AsOwner = Callable[..., tuple[Page, Watch]]


def test_changes_that_wait_or_failed_are_shown_retried_and_skipped(
    as_owner: AsOwner, populated: Console
) -> None:
    """With attempts, error and cause; what an administrator does is in the audit."""
    let_wait(populated.app, "handler:mine.hooks.mail")
    page, _ = as_owner("/#/connect")
    mine = page.locator("[data-consumer='handler:mine.hooks.mail']")
    expect(mine).to_contain_text("2 waiting and 2 dead letters")
    mine.get_by_role("link", name="Show its changes").click()
    rows = page.locator("[data-change]")
    expect(rows).to_have_count(5)
    first = rows.last
    expect(first).to_contain_text(PLAIN)
    expect(first).to_contain_text("Tried 7 times. Next try in")
    expect(first).to_contain_text(ERROR)
    first.get_by_text("What led to it").click()
    expect(first.get_by_role("link", name="The event that caused it")).to_be_visible()
    second = rows.nth(3)
    expect(second).to_contain_text("Waits until an earlier change of this person is handed over.")
    expect(second.get_by_role("button", name="Retry")).to_have_count(0)

    first.get_by_role("button", name="Skip").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("Mended by hand")
    dialog.get_by_role("button", name="Skip it").click()
    expect(rows).to_have_count(4)
    expect(mine).to_contain_text("1 waiting and 2 dead letters")
    skipped = populated.app.store.users.audit_page(AuditFilters(action="outbox.skipped")).items
    assert "Mended by hand" in {each.reason for each in skipped}

    page.get_by_text("Dead", exact=True).click()
    expect(rows).to_have_count(2)
    rows.first.get_by_role("button", name="Retry").click()
    expect(rows.first).to_contain_text("It is due.")
    expect(mine).to_contain_text("2 waiting and 1 dead letter")
    mine.get_by_role("button", name="Retry the dead letters").click()
    dialog.get_by_role("button", name="Retry", exact=True).click()
    expect(page.get_by_text("No change fits")).to_be_visible()
    expect(mine).to_contain_text("3 waiting")
    expect(mine).not_to_contain_text("dead")
    page.evaluate("location.hash = '#/audit?action=outbox.retried'")
    timeline = page.locator(".timeline")
    expect(timeline).to_contain_text("1 change, for mine.hooks.mail")
    expect(timeline).to_contain_text("Role given of")


def test_a_handler_that_no_module_has_any_more_is_forgotten(
    as_owner: AsOwner, populated: Console
) -> None:
    """One that a server works for is not offered for that; the audit has how much is gone."""
    gone, there = "handler:mine.hooks.gone", "handler:mine.hooks.there"
    let_wait(populated.app, gone, timedelta(hours=1))
    let_wait(populated.app, there)
    page, _ = as_owner("/#/connect")
    mine = page.locator(f"[data-consumer='{gone}']")
    expect(mine).to_contain_text("Nobody works for it")
    other = page.locator(f"[data-consumer='{there}']")
    expect(other.get_by_role("button", name="Forget")).to_have_count(0)
    mine.get_by_role("button", name="Forget").click()
    dialog = page.get_by_role("dialog")
    keep(page, "forget-a-handler")
    expect(dialog).to_contain_text("4 changes that wait for it or failed are gone.")
    dialog.get_by_label("Reason").fill("It was renamed")
    dialog.get_by_role("button", name="Forget it").click()
    expect(mine).to_have_count(0)
    expect(other).to_be_visible()
    audit = populated.app.store.users.audit_page(AuditFilters(action="outbox.forgotten"))
    (entry,) = audit.items
    assert (entry.reason, entry.after) == ("It was renamed", {"consumer": gone, "count": 5})
    with populated.app.store.write() as transaction:
        seen_at = populated.app.clock() - AT_WORK
        transaction.sql.execute(update(CONSUMERS).values(seen_at=seen_at))
    populated.app.outbox.forget(there, "test")
    page.evaluate("location.hash = '#/audit?action=outbox.forgotten'")
    expect(page.locator(".timeline")).to_contain_text("mine.hooks.gone")


def test_what_an_event_and_a_person_led_to_names_those_who_wait(
    as_owner: AsOwner, populated: Console
) -> None:
    """With the state and the error, and the way to the change itself."""
    person = populated.app.store.users.find(PLAIN)
    deliveries = populated.app.store.ledger.page(DeliveryFilters(user_id=person.id)).items
    for path in (f"#/events/{deliveries[-1].id}", f"#/users/{person.id}"):
        page, _ = as_owner(f"/{path}")
        if "users" in path:
            page.get_by_role("tab", name="Led to").click()
        change = page.locator(".timeline:visible > li", has_text="Record made")
        expect(change).to_contain_text(ERROR)
    change.get_by_role("link", name="Show").first.click()
    settle(page)
    expect(page.locator("#main")).to_contain_text(HANDLER.removeprefix("handler:"))
    expect(page.locator("[data-change]", has_text="Record made")).to_contain_text(ERROR)


def test_a_consumer_that_nobody_works_for_is_told_unless_it_is_paused(as_owner: AsOwner) -> None:
    """And nothing is called handed over that is not; a sink that was removed has its id alone."""
    page, _ = as_owner("/#/overview")
    facts = {"behind": 3, "waiting": 0, "dead": 0, "oldest_at": "2026-11-23T12:00:00Z"}
    consumers = [
        {"name": name, **facts, "seen_at": "2026-11-23T12:00:00Z", "paused": paused}
        for name, paused in (("handler:a.b", False), ("sink:11111111-1", True))
    ]
    answer = {"consumers": consumers, "changes": [], "next_cursor": None}
    page.route("**/api/outbox?*", lambda route: route.fulfill(json=answer))
    page.evaluate("location.hash = '#/connect'")
    expect(page.locator("[data-consumer='handler:a.b']")).to_contain_text("Nobody works for it")
    sink = page.locator("[data-consumer^='sink:']")
    expect(sink).to_contain_text("sink 11111111")
    expect(sink).to_contain_text("Paused")
    expect(sink).not_to_contain_text("Nobody works")
    expect(page.get_by_text("What was not looked at yet is counted above.")).to_be_visible()


def test_an_act_that_fails_says_so_where_it_was_tried(as_owner: AsOwner) -> None:
    """And the change stays as it was."""
    page, watch = as_owner("/#/connect?state=waiting")
    watch.expect(503)
    page.route("**/outbox/*/retry", lambda route: route.fulfill(status=503, json={"code": "x"}))
    row = page.locator("[data-change]", has_text="Next try").first
    row.get_by_role("button", name="Retry").click()
    expect(row.get_by_role("alert")).to_contain_text("Not available at the moment")
    expect(row.get_by_role("button", name="Retry")).to_be_enabled()
