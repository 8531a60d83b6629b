"""Connect in the hands of an administrator: two tabs, long names, lost answers, the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.browser import Watch, settle, sign_in
from tests.browser.console import Console
from tests.browser.people import OWNER, PLAIN
from tests.browser.test_accessible import TOO_WIDE
from tests.browser.waiting import HANDLER, let_wait
from usher.core.domain.keys import Scope
from usher.core.domain.outbox_view import Filters

TWO_TABS: Final = "handler:two.tabs"


@pytest.fixture(scope="module")
def owner(browser: Browser, populated: Console) -> Iterator[tuple[Page, Watch]]:
    """One page for all tests of this file, signed in."""
    with browser.new_context() as context:
        context.set_default_timeout(20_000)
        watch = Watch(context, populated.url)
        page = context.new_page()
        page.goto(populated.url)
        sign_in(page, OWNER)
        page.get_by_role("navigation").wait_for()
        yield page, watch
        watch.check()


def go(page: Page, address: str) -> None:
    """Open a view, anew even where it is shown."""
    page.evaluate("location.hash = '#/none'")
    page.get_by_role("heading", name="There is no such page").wait_for()
    page.evaluate("address => { location.hash = address; }", address)
    settle(page)


def test_a_change_that_was_handed_over_meanwhile_leaves_the_list(
    owner: tuple[Page, Watch], populated: Console
) -> None:
    """Whether it is retried, skipped or only looked at; the focus goes to what stands there now."""
    page, watch = owner
    watch.expect(404)
    let_wait(populated.app, TWO_TABS)
    outbox = populated.app.outbox
    go(page, f"#/connect?consumer={TWO_TABS}")
    rows = page.locator("[data-change]")
    expect(rows).to_have_count(5)
    for row in outbox.page(Filters(consumer=TWO_TABS)).items:
        outbox.skip(row.id, "cli:ada")
    rows.last.get_by_text("What led to it").click()
    expect(rows.last).to_contain_text("It is no longer in the outbox")
    rows.last.get_by_role("button", name="Retry").click()
    expect(rows).to_have_count(4)
    expect(rows.last.get_by_role("heading", level=2)).to_be_focused()
    rows.first.get_by_role("button", name="Skip").click()
    page.get_by_role("dialog").get_by_role("button", name="Skip it").click()
    expect(rows).to_have_count(3)
    expect(rows.first.get_by_role("heading", level=2)).to_be_focused()


def test_a_sink_that_somebody_else_removed_leaves_the_list(
    owner: tuple[Page, Watch], populated: Console
) -> None:
    """Every act on it says so; after a removal of one's own the focus is in the view, too."""
    page, watch = owner
    watch.expect(404)
    sinks = populated.app.sinks
    for number, act in enumerate(("Test", "Pause", "New secret", "Remove", "")):
        sink, _ = sinks.add(f"http://127.0.0.1:1024/two-tabs-{number}", ["event.*"], "cli:ada")
        go(page, "#/connect/sinks")
        row = page.locator("[data-sink]", has_text=f"two-tabs-{number}")
        if act:
            sinks.remove(sink.id, "cli:ada")
        row.get_by_role("button", name=act or "Remove", exact=False).click()
        if act != "Test":
            page.get_by_role("dialog").locator("button[type=submit]").click()
        said = "Somebody else has removed this sink." if act else "The sink is removed."
        expect(page.locator("#toasts")).to_contain_text(said)
        expect(row).to_have_count(0)
        expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_a_secret_stays_until_it_is_put_away(owner: tuple[Page, Watch], populated: Console) -> None:
    """A second one stands above the first, however long the URL is; nothing is too wide."""
    page, _ = owner
    go(page, "#/connect/sinks")
    dialog = page.get_by_role("dialog")
    urls = [f"http://127.0.0.1:1024/{letter * 1_900}" for letter in "ab"]
    for url in urls:
        page.get_by_role("button", name="Add a sink").click()
        dialog.get_by_label("Address").fill(url)
        dialog.get_by_role("button", name="Add it").click()
        expect(dialog).to_have_count(0)
    secrets = page.get_by_role("region", name="Secret", exact=True)
    expect(secrets).to_have_count(2)
    expect(secrets.first).to_be_focused()
    settle(page)
    assert page.evaluate(TOO_WIDE) == []
    page.get_by_role("button", name="Done").first.click()
    expect(secrets).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    expect(page.get_by_role("heading", name="The secret of")).to_contain_text("aaaa…")
    for sink in populated.app.sinks.all():
        if sink.url in urls:
            populated.app.sinks.remove(sink.id, "cli:ada")


def test_the_states_of_changes_are_chosen_by_arrows(owner: tuple[Page, Watch]) -> None:
    """The focus stays on the choice, and the way back leads out of the view."""
    page, _ = owner
    go(page, "#/overview")
    page.get_by_role("navigation").get_by_role("link", name="Connect").click()
    settle(page)
    page.get_by_label("All", exact=True).focus()
    for label, state in (("Waiting", "waiting"), ("Dead", "dead")):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_label(label, exact=True)).to_be_focused()
        settle(page)
        assert page.url.endswith(f"?state={state}")
    chips = page.locator("[data-change] .item-head .chip", has_text="Dead letter")
    expect(chips).to_have_count(page.locator("[data-change]").count())
    page.go_back()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_show_leads_from_a_person_to_their_changes_alone(
    owner: tuple[Page, Watch], populated: Console
) -> None:
    """Among thousands nobody would find them."""
    page, _ = owner
    person = populated.app.store.users.find(PLAIN)
    go(page, f"#/users/{person.id}")
    page.get_by_role("tab", name="Led to").click()
    page.get_by_role("link", name=f"Show: Record made for {HANDLER[8:]}").click()
    settle(page)
    expect(page.locator(".choice")).to_contain_text(f"of {PLAIN}")
    wanted = Filters(consumer=HANDLER, user_id=person.id)
    found = populated.app.outbox.page(wanted).items
    assert found
    expect(page.locator("[data-change]")).to_have_count(len(found))
    page.get_by_role("link", name="Show all").click()
    settle(page)
    assert page.url.endswith("#/connect")


def test_an_answer_that_is_lost_is_not_called_nothing(
    owner: tuple[Page, Watch], populated: Console
) -> None:
    """The key was made; a fault of a field then takes the place of the words."""
    page, watch = owner
    watch.expect("ERR_FAILED")
    go(page, "#/connect/keys")

    def lose(route: object) -> None:
        route.fetch()  # type: ignore[attr-defined]
        route.abort()  # type: ignore[attr-defined]

    page.route("**/api/keys", lose)
    page.get_by_role("button", name="Make a key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("lost-answer")
    dialog.get_by_role("checkbox", name="Give and take roles").check()
    dialog.get_by_role("button", name="Make it").click()
    expect(dialog.get_by_role("alert").last).to_contain_text("it may have been done")
    assert Scope.ROLES_WRITE in next(
        key.scopes for key in populated.app.keys.page().items if key.name == "lost-answer"
    )
    dialog.get_by_role("checkbox", name="Give and take roles").uncheck()
    dialog.get_by_role("button", name="Make it").click()
    expect(dialog).to_contain_text("Choose one at least.")
    expect(dialog).not_to_contain_text("it may have been done")
    page.keyboard.press("Escape")
    page.unroute_all()


def test_the_overview_tells_of_dead_letters(owner: tuple[Page, Watch], populated: Console) -> None:
    """With the way to them; most people look at the outbox only then."""
    page, _ = owner
    dead = sum(each.dead for each in populated.app.outbox.standings())
    assert dead
    go(page, "#/overview")
    note = page.locator(".notice", has_text=f"{dead} dead letter")
    note.get_by_role("link", name="Show them").click()
    settle(page)
    assert page.url.endswith("#/connect?state=dead")


def test_a_hint_of_a_checkbox_is_read_once(owner: tuple[Page, Watch]) -> None:
    """It belongs to the name, so it is no description as well."""
    page, _ = owner
    go(page, "#/connect/keys")
    page.get_by_role("button", name="Make a key").click()
    box = page.get_by_role("checkbox", name="Read people Their records, roles and events")
    expect(box).to_have_accessible_description("")
    page.keyboard.press("Escape")
