"""One browser for all tests of this folder, and consoles for it to open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.browser import Watch, launch, picture, settle, sign_in
from tests.browser.console import Console, believable, console
from tests.browser.people import OWNER
from tests.npm import installed
from usher.core import log

Visit = Callable[..., tuple[Page, Watch]]
PACKAGES = Path(__file__).parent / "packages"


# For the package and not for the session: Playwright's event loop must end before others' begin.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The machine's Chromium."""
    with sync_playwright() as playwright:
        opened = launch(playwright)
        yield opened
        opened.close()


@pytest.fixture(scope="package")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What npm brings to check pages with."""
    return installed(PACKAGES, tmp_path_factory.getbasetemp().parent) / "node_modules"


@pytest.fixture(scope="package")
def populated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    """A console with a month of people in it, to look at; tests change nobody but their own."""
    log.configure()
    with console(tmp_path_factory.mktemp("console"), believable(90)) as running:
        yield running


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Console]:
    """A console that nobody has visited yet."""
    with console(tmp_path) as running:
        yield running


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[Console]:
    """The same, with its door on: it tells refused people why."""
    with console(tmp_path, USHER_DOOR="on") as running:
        yield running


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """``visit(console, path)`` opens a page in a browser that knows nothing yet.

    When the test ends, every page that it opened is asked whether it kept to its rules.
    """
    watches: list[Watch] = []
    with ExitStack() as stack:

        def build(site: Console, path: str = "/", **options: Any) -> tuple[Page, Watch]:
            context = stack.enter_context(browser.new_context(**options))
            context.set_default_timeout(20_000)
            watches.append(Watch(context, site.url))
            page = context.new_page()
            page.goto(site.url + path)
            return page, watches[-1]

        yield build
        for watch in watches:
            watch.check()


@pytest.fixture
def as_owner(visit: Visit, populated: Console) -> Visit:
    """``as_owner(path)`` opens a view of the populated console as its administrator."""

    def build(path: str = "/", **options: Any) -> tuple[Page, Watch]:
        page, watch = visit(populated, path, **options)
        sign_in(page, OWNER)
        page.get_by_role("navigation").wait_for()
        settle(page)
        return page, watch

    return build


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Keep a picture of every page of a test that fails."""
    report = yield
    opened: Browser | None = getattr(item, "funcargs", {}).get("browser")
    if report.when == "call" and report.failed and opened is not None:
        pages = [page for context in opened.contexts for page in context.pages]
        for number, page in enumerate(pages):
            picture(page, f"failed-{item.name}-{number}")
    return report
