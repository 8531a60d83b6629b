"""What the console shows of events that failed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.browser import Watch, keep, settle, sign_in
from tests.browser.console import alone, console
from tests.browser.people import OWNER
from tests.support import account, signed, verified
from usher.core.app import App
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.policy import Applicant, Verdict

Visit = Callable[..., tuple[Page, Watch]]


def broken(applicant: Applicant) -> Verdict:
    """A policy that knows nobody."""
    plans: dict[str, str] = {}
    return Verdict(roles=frozenset({plans[applicant.provider]}))  # here it fails


def failing(app: App, now: datetime) -> None:
    """The owner, whose policy then fails three newcomers and one login."""
    alone(("Olivia Wren", OWNER))(app, now)
    good = app.policy_in_force.current
    app.policy_in_force.current = CallablePolicy("rules:decide", broken)
    try:
        for number in range(3):
            who = account(email=f"new{number}@example.com", at=now)
            app.webhooks.process([verified(app.webhooks, signed("signup", who, at=now), now)])
        owner = account(user_id=app.store.users.find(OWNER).id, email=OWNER, at=now)
        app.webhooks.process([verified(app.webhooks, signed("login", owner, at=now), now)])
    finally:
        app.policy_in_force.current = good


def test_c2_failed_events_are_counted_listed_and_explained(visit: Visit, tmp_path: Path) -> None:
    """On the Overview as a tile and a plot, in Events by their error, and one with its line."""
    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if text.endswith("# here it fails")
    )
    with console(tmp_path, failing) as site:
        page, _ = visit(site, "/#/overview?days=7")
        sign_in(page, OWNER)
        tile = page.locator(".tile", has_text="Failures")
        expect(tile).to_contain_text("4")
        failures = page.locator("figure", has_text="Failures")
        expect(failures.locator(".figure-total")).to_have_text("4")
        settle(page)
        keep(page, "failed-events-overview")
        tile.click()
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(4)
        expect(rows.first.locator(".chip")).to_have_text("Failed")
        expect(rows.first).to_contain_text(f"{Path(__file__).name}:{line}")
        expect(rows.first).to_contain_text("KeyError: 'email' at ")
        expect(page.get_by_label("Outcome")).to_have_value("failed")
        expect(rows.first).to_contain_text(OWNER)
        expect(rows.nth(1)).to_contain_text("a newcomer")
        settle(page)
        keep(page, "failed-events-list")
        rows.first.locator("a").first.click()
        failed = page.locator(".card", has_text="What failed")
        expect(failed).to_contain_text("KeyError: 'email'")
        expect(failed).to_contain_text(f"test_failed_events_shown.py:{line}")
        expect(page.locator("#main .page-head")).to_contain_text("Identity tried again")
        page.get_by_role("button", name="Replay, changing nothing").click()
        expect(page.get_by_text("The answer would be another")).to_be_visible()
        settle(page)
        keep(page, "failed-events-one")
