"""The machine's Chromium: where it is, and what to say where there is none."""

from __future__ import annotations

import os
import shutil
from typing import Final

import pytest

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
MISSING: Final = "no Chromium on this machine"
HOW: Final = "apt-get install chromium, or name one: CHROMIUM=/path/to/chrome"
OPTIONS: Final = (
    "--no-sandbox",  # tests run as root in containers, and open nothing but our own pages
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium() -> str | None:
    """Its path: what CHROMIUM names, or the first that is found."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def require_chromium() -> str:
    """Its path; without one the test is skipped, and fails where CI is set."""
    found = chromium()
    if found is None and os.environ.get("CI"):
        pytest.fail(f"{MISSING}: {HOW}", pytrace=False)
    if found is None:
        pytest.skip(f"{MISSING}: {HOW}")
    return found


def not_run(skipped: list[pytest.TestReport]) -> str | None:
    """The line that ends a run in which something could not be looked at; None: nothing was."""
    count = sum(MISSING in str(report.longrepr) for report in skipped)
    if not count:
        return None
    return f"NOT RUN: {count} tests of the console in a browser; {MISSING}. To run them: {HOW}"
