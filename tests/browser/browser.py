"""Driving the console as a person does, and watching what a page must never do."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, expect

from tests.browser.console import PASSWORD
from tests.chromium import OPTIONS, require_chromium
from tests.support import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

PICTURES: Final = ROOT / ".artifacts" / "console"
FAILED: Final = re.compile(r"^Failed to load resource: (?:.*status of (\d+)|net::(\w+))")
# Runs before the page's own scripts, whatever its policy says.
LISTEN: Final = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""

expect.set_options(timeout=20_000)


def launch(playwright: Playwright) -> Browser:
    """The machine's own browser, which asks nobody anything by itself."""
    return playwright.chromium.launch(executable_path=require_chromium(), args=OPTIONS)


class Watch:
    """What the pages of a context did that no page of ours may do.

    Attributes:
        requests: every request, as method and path.
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._expected: set[str] = set()
        self._allowed: list[str] = []
        self.requests: list[str] = []
        self._host = urlsplit(url).netloc
        self._said: list[str] = []
        self._context = context
        context.add_init_script(LISTEN)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._said.append(f"error: {error.error}"))
        context.on("dialog", self._dialog)
        context.on("request", self._request)

    def expect(self, *expected: object) -> None:
        """These statuses, or network errors, the test brings about itself."""
        self._expected |= {str(each) for each in expected}

    def allow(self, text: str) -> None:
        """A program of others says this by its nature."""
        self._allowed.append(text)

    def check(self) -> None:
        """Nothing was said, asked or run that ought not to be."""
        for page in self._context.pages:
            if page.evaluate("window.__canary ?? 0"):
                self._said.append("a string of somebody's was run as a script")
        assert not self._said, "\n".join(self._said)

    def _console(self, message: ConsoleMessage) -> None:
        failed = FAILED.match(message.text)
        if failed and (failed[1] or failed[2]) in self._expected:
            return
        if any(text in message.text for text in self._allowed):
            return
        if message.type in ("error", "warning"):
            where = message.location.get("url", "")
            self._said.append(f"{message.type}: {message.text} ({where})")

    def _dialog(self, dialog: Dialog) -> None:
        self._said.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Request) -> None:
        address = urlsplit(request.url)
        self.requests.append(f"{request.method} {address.path}")
        if address.netloc != self._host:
            self._said.append(f"asked another host: {request.url}")


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Through the form."""
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def settle(page: Page) -> None:
    """Wait until a view has what it asked for."""
    expect(page.locator("#main h1, #main h2").first).to_be_visible()
    expect(page.locator("#main .skeleton")).to_have_count(0)


def picture(page: Page, name: str, folder: Path = PICTURES, **options: Any) -> None:
    """Keep what it looks like, for people to look at."""
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", animations="disabled", **options)


def keep(page: Page, name: str, **options: Any) -> None:
    """A picture, where ``PICTURES`` asks for some: no test looks at them, and each costs 0.3 s."""
    if os.environ.get("PICTURES"):
        picture(page, name, **options)
