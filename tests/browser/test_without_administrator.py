"""The console shows nothing, and can do nothing, without an administrator's token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.api.api_support import bearer
from tests.browser.browser import Watch, keep, settle, sign_in
from tests.browser.console import BOB, OLIVIA, PASSWORD, Console, alone, console
from tests.browser.people import OWNER, PLAIN
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change

Visit = Callable[..., tuple[Page, Watch]]
VIEWS = (
    "overview",
    "requests",
    "users",
    "events",
    "audit",
    "policy",
    "policy/next",
    "policy/codes",
    "users/{owner}",
    "events/0",
    "nowhere",
)
ADMIN = [
    ("GET", "/api/users"),
    ("POST", "/api/users"),
    ("GET", "/api/users/{owner}"),
    ("PATCH", "/api/users/{owner}"),
    ("DELETE", "/api/users/{owner}"),
    ("GET", "/api/users/{owner}/events"),
    ("PUT", "/api/users/{owner}/roles"),
    ("PUT", "/api/users/{owner}/roles/editor"),
    ("DELETE", "/api/users/{owner}/roles/staff"),
    ("GET", "/api/roles"),
    ("GET", "/api/stats"),
    ("GET", "/api/events"),
    ("GET", "/api/events/0"),
    ("POST", "/api/events/0/replay"),
    ("GET", "/api/audit"),
    ("GET", "/api/policy"),
    ("POST", "/api/policy/explain"),
    ("POST", "/api/policy/try"),
    ("GET", "/api/requests"),
    ("GET", "/api/requests/1"),
    ("POST", "/api/requests/1/approve"),
    ("POST", "/api/requests/1/decline"),
    ("GET", "/api/codes"),
    ("POST", "/api/codes"),
    ("GET", "/api/codes/0"),
    ("DELETE", "/api/codes/0"),
    ("GET", "/api/codes/0/uses"),
]


@pytest.fixture
def of_two(tmp_path: Path) -> Iterator[Console]:
    """A console of the owner and Bob, who is an administrator as well."""

    def fill(app: App, now: datetime) -> None:
        alone(OLIVIA, BOB)(app, now)
        app.store.users.change(
            app.store.users.find(PLAIN), administration.grant("admin"), Change("test")
        )

    with console(tmp_path, fill) as running:
        yield running


def owner_id(site: Console) -> str:
    """The administrator's id."""
    return str(site.app.store.users.find(OWNER).id)


def api_calls(watch: Watch) -> set[str]:
    """What was asked of the API."""
    return {each for each in watch.requests if " /api/" in each}


def test_without_a_token_there_is_the_door_alone(visit: Visit, populated: Console) -> None:
    """Whatever view the address names; the API is not even asked."""
    page, watch = visit(populated)
    for view in VIEWS:
        page.goto(f"{populated.url}/#/{view.format(owner=owner_id(populated))}")
        page.reload()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(page.get_by_role("navigation")).to_have_count(0)
    assert api_calls(watch) == set()


def test_a_person_sees_their_own_page_alone(visit: Visit, populated: Console) -> None:
    """Whatever view the address names; and their token opens none of the console's endpoints."""
    page, watch = visit(populated)
    sign_in(page, PLAIN)
    expect(page.get_by_role("heading", name="Bob Plain")).to_be_visible()
    for view in VIEWS:
        page.evaluate("view => { location.hash = view; }", f"#/{view}")
        expect(page.get_by_role("heading", name="Your roles")).to_be_visible()
        expect(page.get_by_role("navigation")).to_have_count(0)
    page.reload()
    expect(page.get_by_role("heading", name="Your roles")).to_be_visible()
    assert api_calls(watch) == {"GET /api/me", "GET /api/me/requests", "GET /api/policy/me"}
    token = populated.log_in(PLAIN, PASSWORD)
    for method, path in ADMIN:
        status, answer = populated.ask(
            method, path.format(owner=owner_id(populated)), {} if method != "GET" else None, token
        )
        assert (status, answer["code"]) == (403, "forbidden"), (method, path)


@pytest.mark.parametrize("path", ["#access_token=x&refresh_token=y", "#/users?email=<b>"])
def test_a_token_in_a_link_signs_nobody_in(visit: Visit, populated: Console, path: str) -> None:
    """A login that this tab did not begin is refused, and the address forgets the token."""
    page, watch = visit(populated, f"/{path}")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert "access_token" not in page.url
    assert api_calls(watch) == set()


def test_signing_out_forgets_both_tokens(visit: Visit, populated: Console) -> None:
    """Nothing is kept in the tab, and what was kept is refused by Identity."""
    page, watch = visit(populated)
    sign_in(page, OWNER)
    page.get_by_role("navigation").wait_for()
    refresh = page.evaluate("sessionStorage.getItem('usher.refresh')")
    assert refresh
    assert page.evaluate("JSON.stringify({...localStorage}) + document.cookie") == "{}"
    page.get_by_role("button", name="Sign out").click()
    page.get_by_text("You are signed out").wait_for()
    assert page.evaluate("Object.keys(sessionStorage)") == []
    page.reload()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    form = f"grant_type=refresh_token&refresh_token={refresh}"
    assert populated.identity("POST", "/token", form)[0] == 400
    assert "POST /.netlify/identity/logout" in watch.requests


def test_an_expired_token_is_renewed_and_an_ended_session_leads_back(
    visit: Visit, populated: Console
) -> None:
    """Silently while Identity renews it; else by the door, and back to the same view."""
    page, watch = visit(populated)
    sign_in(page, OWNER)
    page.get_by_role("navigation").wait_for()
    settle(page)
    old = bearer(
        populated.app.store.users.find(OWNER).id,
        datetime.now(UTC) - timedelta(hours=2),
        email=OWNER,
    )
    watch.expect(401)
    late: list[str] = []

    def with_expired_token(route: Route) -> None:
        late.append(route.request.url)
        route.continue_(headers=route.request.headers | {"authorization": f"Bearer {old}"})

    page.route("**/api/users?*", with_expired_token, times=1)
    page.get_by_role("navigation").get_by_role("link", name="Users").click()
    expect(page.locator("tbody tr").first).to_be_visible()
    assert len(late) == 1

    watch.expect(400)
    page.route("**/api/events?*", with_expired_token)
    page.evaluate("sessionStorage.setItem('usher.refresh', 'spent')")
    page.get_by_role("navigation").get_by_role("link", name="Events").click()
    expect(page.get_by_text("Your session has ended")).to_be_visible()
    assert page.evaluate("Object.keys(sessionStorage)") == []
    page.unroute("**/api/events?*")
    sign_in(page, OWNER)
    expect(page.get_by_role("heading", name="Events")).to_be_visible()


def test_who_loses_the_role_or_the_account_loses_the_console(visit: Visit, of_two: Console) -> None:
    """At the next request there is their own page, or one that says why, and no data."""
    site = of_two
    users = site.app.store.users
    page, watch = visit(site)
    sign_in(page, PLAIN)
    page.get_by_role("navigation").wait_for()
    settle(page)
    watch.expect(403)
    users.change(users.find(PLAIN), administration.revoke("admin"), Change("test"))
    page.get_by_role("navigation").get_by_role("link", name="Users").click()
    expect(page.get_by_text("You are not an administrator")).to_be_visible()
    expect(page.get_by_role("navigation")).to_have_count(0)

    users.change(users.find(PLAIN), administration.grant("admin"), Change("test"))
    page.get_by_role("button", name="Look again").click()
    page.get_by_role("navigation").wait_for()
    settle(page)
    page.get_by_role("navigation").get_by_role("link", name="Audit").click()
    page.get_by_role("heading", name="Audit", level=1).wait_for()
    settle(page)
    users.change(users.find(PLAIN), administration.suspend(), Change("test"))
    page.get_by_role("navigation").get_by_role("link", name="Users").click()
    expect(page.get_by_role("heading", name="Account suspended")).to_be_visible()
    expect(page.get_by_role("navigation")).to_have_count(0)
    keep(page, "suspended")
    page.reload()
    expect(page.get_by_role("heading", name="Account suspended")).to_be_visible()
