"""Waiting for conditions, with a generous deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.support import WAIT_SECONDS


def until(found: Callable[[], object]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)
