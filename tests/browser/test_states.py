"""Every view while it waits, when there is nothing, and when something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.browser import Watch, keep, settle, sign_in
from tests.browser.console import PASSWORD, Console, alone, console
from tests.browser.people import OWNER

AsOwner = Callable[..., tuple[Page, Watch]]
Visit = Callable[..., tuple[Page, Watch]]
VIEWS: Final = {
    "overview": "**/api/stats?*",
    "requests": "**/api/requests?*",
    "users": "**/api/users?*",
    "record": "**/api/users/*-*",
    "events": "**/api/events?*",
    "event": "**/api/events/*",
    "audit": "**/api/audit?*",
    "policy": "**/api/policy",
    "policy/codes": "**/api/codes?*",
    "connect": "**/api/outbox?*",
    "connect/sinks": "**/api/sinks",
    "connect/keys": "**/api/keys?*",
}
"""Each view, and what it asks first."""
FAULTS: Final = {
    "offline": ("ERR_INTERNET_DISCONNECTED", "The server cannot be reached"),
    "500": ("500", "Something went wrong on the server"),
    "503": ("503", "Not available at the moment"),
}


@pytest.fixture(scope="module")
def nobody(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A console with the owner on record, and no event or other person."""
    with console(tmp_path_factory.mktemp("nobody"), alone(("Olivia Wren", OWNER))) as running:
        yield running


def address(view: str, site: Console) -> str:
    """Where the view is."""
    if view == "record":
        return f"#/users/{site.app.store.users.page(limit=1).items[0].id}"
    if view == "event":
        return f"#/events/{site.app.store.ledger.page(limit=1).items[0].id}"
    return f"#/{view}"


def away(page: Page) -> None:
    """To a view that asks nothing."""
    page.evaluate("location.hash = '#/nowhere'")
    page.get_by_role("heading", name="There is no such page").wait_for()


def test_every_view_waits_visibly(as_owner: AsOwner, populated: Console) -> None:
    """Bones, and a word for who does not see them, until the answer is there."""
    page, _ = as_owner()
    held: list[Route] = []
    for view, asked in VIEWS.items():
        away(page)
        page.route(asked, lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the function
        with page.expect_request(asked):
            page.evaluate("hash => { location.hash = hash; }", address(view, populated))
        bones = page.locator("#main .skeleton").first
        expect(bones).to_be_visible()
        expect(bones).to_have_attribute("role", "status")
        keep(page, f"{view.replace('/', '-')}-waiting")
        while held:
            held.pop().continue_()
        page.unroute_all()
        settle(page)


@pytest.mark.parametrize("fault", FAULTS)
def test_every_view_says_what_is_wrong_and_recovers(
    as_owner: AsOwner, populated: Console, fault: str
) -> None:
    """In words of its own, as an alert, with another try that works once the fault is over."""
    expected, words = FAULTS[fault]
    page, watch = as_owner()
    watch.expect(expected)

    def break_it(route: Route) -> None:
        if fault == "offline":
            route.abort("internetdisconnected")
        else:
            route.fulfill(status=int(fault), json={"code": "x", "title": "", "detail": ""})

    for view, asked in VIEWS.items():
        away(page)
        page.route(asked, break_it)
        page.evaluate("hash => { location.hash = hash; }", address(view, populated))
        alert = page.locator("#main").get_by_role("alert")
        expect(alert).to_contain_text(words)
        expect(alert).to_contain_text("Trying again in")
        keep(page, f"{view.replace('/', '-')}-{fault}")
        page.unroute_all()
        alert.get_by_role("button", name="Try now").click()
        expect(alert).to_have_count(0)
        settle(page)


def test_what_is_empty_says_so(visit: Visit, nobody: Console) -> None:
    """And what will come, or how to widen the search."""
    page, watch = visit(nobody)
    sign_in(page, OWNER)
    page.get_by_role("navigation").wait_for()
    for hash_, words in [
        ("#/requests", "Nobody waits for you"),
        ("#/policy/codes", "No codes yet"),
        ("#/connect", "Nobody gets changes yet"),
        ("#/connect?state=dead", "No change fits"),
        ("#/connect/sinks", "No sinks yet"),
        ("#/connect/keys", "No keys yet"),
        ("#/users?email=zzzz", "Nobody fits"),
        ("#/events?event=userdeleted", "No event fits"),
        ("#/audit?action=user.deleted", "Nothing has changed yet"),
        ("#/users/x", "There is no such user"),
    ]:
        page.evaluate("hash => { location.hash = hash; }", hash_)
        expect(page.locator("#main .state")).to_contain_text(words)
        keep(page, "empty-" + words.lower().replace(" ", "-"))
    watch.expect(404)
    for hash_ in ("#/users/00000000-0000-0000-0000-000000000000", "#/events/nothing"):
        page.evaluate("hash => { location.hash = hash; }", hash_)
        expect(page.locator("#main .state")).to_contain_text("There is no such record")


def test_an_error_in_a_dialog_stays_there(as_owner: AsOwner, populated: Console) -> None:
    """With what was typed, so that another try costs nothing."""
    page, watch = as_owner(f"/{address('record', populated)}")
    watch.expect(503)
    page.route("**/roles/editor", lambda route: route.fulfill(status=503, json={"code": "x"}))
    page.get_by_role("button", name="Give a role").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Role").fill("editor")
    dialog.get_by_label("Reason").fill("a long reason")
    dialog.get_by_role("button", name="Give the role").click()
    expect(dialog.get_by_role("alert")).to_contain_text("Not available at the moment")
    expect(dialog.get_by_label("Reason")).to_have_value("a long reason")


def test_the_door_says_that_identity_is_away(visit: Visit, populated: Console) -> None:
    """And keeps the address that was typed."""
    page, watch = visit(populated)
    watch.expect(500, "ERR_INTERNET_DISCONNECTED")
    page.route("**/identity/token", lambda route: route.fulfill(status=500, json={"msg": "Oops"}))
    sign_in(page, OWNER, PASSWORD)
    expect(page.get_by_role("alert")).to_contain_text("Oops")
    page.unroute_all()
    page.route("**/identity/token", lambda route: route.abort("internetdisconnected"))
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Identity cannot be reached")
    expect(page.get_by_label("E-mail")).to_have_value(OWNER)
