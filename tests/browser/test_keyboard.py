"""Everything by the keyboard alone, and one always sees where one is."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.browser import Watch, settle
from tests.browser.console import PASSWORD, Console
from tests.browser.people import OWNER, PLAIN

AsOwner = Callable[..., tuple[Page, Watch]]
Visit = Callable[..., tuple[Page, Watch]]
# What has the focus: its name, and whether one can see that it has.
FOCUSED = """() => {
  const element = document.activeElement;
  const style = getComputedStyle(element);
  const shown = element.getBoundingClientRect();
  return {
    name: (element.getAttribute("aria-label") || element.textContent || element.name || "").trim(),
    tag: element.tagName,
    visible: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1
      || style.boxShadow !== "none"
      || element.matches("input[type=radio]")
        && getComputedStyle(element.nextElementSibling).outlineStyle !== "none",
    inside: Boolean(element.closest("dialog")),
    onScreen: shown.right > 0 && shown.bottom > 0 && shown.width > 0,
  };
}"""


def walk(page: Page, steps: int, key: str = "Tab") -> list[str]:
    """Press a key so often; each stop has to be seen."""
    names = []
    for _ in range(steps):
        page.keyboard.press(key)
        at = page.evaluate(FOCUSED)
        if at["tag"] == "BODY":
            break
        assert at["visible"], f"no focus to be seen on {at}"
        assert at["onScreen"], f"the focus is off the screen on {at}"
        names.append(at["name"])
    return names


def test_signing_in_and_out_by_keyboard(visit: Visit, populated: Console) -> None:
    """The form has the focus at once; Enter sends it; the way out is reached by Tab."""
    page, _ = visit(populated)
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.keyboard.type(PLAIN)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    assert walk(page, 1) == ["Sign out"]
    page.keyboard.press("Enter")
    expect(page.get_by_label("E-mail")).to_be_focused()


def test_the_order_of_tab_stops_and_that_each_is_seen(as_owner: AsOwner) -> None:
    """First a way to the content, then the navigation, then the view from top to bottom."""
    page, _ = as_owner("/#/users")
    page.evaluate("document.activeElement.blur()")
    names = walk(page, 60)
    begin = ["Skip to content", "Usher, overview", "Overview"]
    assert names[:3] == begin
    assert names[3].startswith("Requests")
    assert names[4:9] == ["Users", "Events", "Audit", "Policy", "Connect"]
    assert names.index("Invite") > 9
    page.get_by_role("button", name="Skip to content").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    for view in (
        "overview",
        "requests",
        "events",
        "audit",
        "policy",
        "policy/next",
        "policy/codes",
        "connect",
        "connect/sinks",
        "connect/keys",
    ):
        page.evaluate("view => { location.hash = view; }", f"#/{view}")
        settle(page)
        walk(page, 40)


def test_a_view_takes_the_focus_to_its_heading(as_owner: AsOwner) -> None:
    """So that a screen reader says where one has come to."""
    page, _ = as_owner("/#/overview")
    link = page.get_by_role("navigation").get_by_role("link", name="Audit")
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Audit", level=1)).to_be_focused()


def test_dialogs_hold_the_focus_and_give_it_back(as_owner: AsOwner) -> None:
    """Tab goes round inside, Escape leaves, and one is where one was."""
    page, _ = as_owner()
    page.get_by_role("link", name="Your record").click()
    settle(page)
    for opener in ("Give a role", "Suspend", "Delete"):
        button = page.get_by_role("button", name=opener, exact=True)
        button.focus()
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog.locator("input").first).to_be_focused()
        inside = []
        for _ in range(12):
            page.keyboard.press("Tab")
            at = page.evaluate(FOCUSED)
            inside.append(at["inside"] or at["tag"] == "BODY")  # BODY: the browser's own bar
        assert all(inside)
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(button).to_be_focused()


def test_tabs_and_choices_by_arrows(as_owner: AsOwner) -> None:
    """Arrows move between the tabs of a record and the spans of the overview."""
    page, _ = as_owner()
    page.get_by_text("30 days", exact=True).click()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("in the last 90 days")).to_be_visible()
    page.get_by_role("link", name="Your record").click()
    page.get_by_role("tab", name="Changes").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Events")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Events")).to_be_visible()
    assert OWNER in page.locator("#main").inner_text()
