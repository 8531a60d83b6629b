"""WCAG AA by axe, both themes, and a phone: every view, and every dialog."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Page

from tests.browser.browser import Watch, keep
from tests.browser.console import Console
from tests.browser.shots import LOOKS, take

Visit = Callable[..., tuple[Page, Watch]]
pytestmark = pytest.mark.timeout(300)  # a busy machine takes its time for so many views
RULES: Final = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS: Final = ["color-contrast", "link-in-text-block"]
"""All that a theme may break: those of ``RULES`` that look at colours (axe's tag ``cat.color``)."""
OF_COLOURS: Final = """(rules) => axe.getRules(rules)
  .filter(({ tags }) => tags.includes("cat.color")).map(({ ruleId }) => ruleId)"""
STILL: Final = """async () => {
  await Promise.allSettled(document.getAnimations().map(({ finished }) => finished));
}"""
RUN: Final = """async (rules) => {
  const found = await axe.run(document, { runOnly: rules, resultTypes: ["violations"] });
  return found.violations.map(({ id, nodes }) =>
    `${id}: ${nodes.slice(0, 3).map(({ target, any }) => `${target} ${any[0]?.message}`)}`);
}"""
TOO_WIDE: Final = """() => {
  const told = (found) => found.slice(0, 3).map((each) => each.outerHTML.slice(0, 120));
  const wide = document.scrollingElement.scrollWidth > screen.width
    ? [...document.querySelectorAll("body *")].filter(
        (each) => each.getBoundingClientRect().right > screen.width + 1)
    : [];
  const spilt = [...document.querySelectorAll(".card, .card dd, .tile, dialog, .state")]
    .filter((each) => each.scrollWidth > each.clientWidth + 1);
  return told([...wide, ...spilt]);
}"""


@pytest.fixture(scope="module")
def axe(packages: Path) -> str:
    """The rules' program; it comes in by the debugger, which no policy of a page forbids."""
    return (packages / "axe-core/axe.min.js").read_text("utf-8")


@pytest.mark.parametrize("look", ["light", "phone"])
def test_every_view_is_for_everybody(visit: Visit, populated: Console, axe: str, look: str) -> None:
    """What axe knows of WCAG 2.2 AA holds; nothing is wider than the page or its card.

    On the large screen each view is looked at in both themes; they differ in colours alone.
    """
    page, _ = visit(populated, **LOOKS[look], reduced_motion="reduce")  # no colour is on its way
    problems: list[str] = []

    def told(name: str, found: list[str]) -> None:
        problems.extend(f"{name}: {each}" for each in found)

    def inspect(name: str) -> None:
        page.evaluate("document.fonts.ready")
        if not page.evaluate("'axe' in window"):
            page.evaluate(f"() => {{ {axe} }}")
            assert set(COLOURS) == set(page.evaluate(OF_COLOURS, RULES))
        keep(page, f"{name}-{look}", full_page=True)
        told(f"{name}, {look}", page.evaluate(RUN, RULES))
        told(f"{name}, {look}, is too wide", page.evaluate(TOO_WIDE))
        if look == "light":
            page.emulate_media(color_scheme="dark")
            page.evaluate(STILL)
            keep(page, f"{name}-dark", full_page=True)
            told(f"{name}, dark", page.evaluate(RUN, COLOURS))
            page.emulate_media(color_scheme="light")

    take(page, populated, lambda _: True, inspect)
    assert not problems, "\n".join(problems)
