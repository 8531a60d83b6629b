"""Waiting for conditions, with a generous deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.support import WAIT_SECONDS


def until(found: Callable[[], object], pause: float = 0.05) -> None:
    """Wait for a condition; it is looked at again after a pause, in seconds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not found():
        assert time.monotonic() < deadline
        time.sleep(pause)
