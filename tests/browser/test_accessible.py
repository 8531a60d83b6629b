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


@pytest.mark.parametrize("look", LOOKS)
def test_every_view_is_for_everybody(visit: Visit, populated: Console, axe: str, look: str) -> None:
    """What axe knows of WCAG 2.2 AA holds; nothing is wider than the page or its card."""
    page, _ = visit(populated, **LOOKS[look])
    problems: list[str] = []

    def inspect(name: str) -> None:
        page.evaluate("document.fonts.ready")
        if not page.evaluate("'axe' in window"):
            page.evaluate(f"() => {{ {axe} }}")
        keep(page, f"{name}-{look}", full_page=True)
        problems.extend(f"{name}: {each}" for each in page.evaluate(RUN, RULES))
        problems.extend(f"{name} is too wide: {each}" for each in page.evaluate(TOO_WIDE))

    take(page, populated, lambda _: True, inspect)
    assert not problems, "\n".join(problems)
