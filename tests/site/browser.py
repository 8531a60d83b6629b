"""Driving the console as a person does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.site.serve import PASSWORD

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Playwright

CHROMIUM: Final = Path("/usr/bin/chromium")
OPTIONS: Final = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def launch(playwright: Playwright) -> Browser:
    """The machine's own browser, which asks nobody anything by itself."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)


def sign_in(page: Page, email: str, password: str = PASSWORD) -> None:
    """Through the form."""
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
