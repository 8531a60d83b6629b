"""Processes beside a server: how they begin, how they rest, and what they may take."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

from usher.core import log

NICE: Final = 10
"""Not 19: on SQLite such a process holds the lock for writing now and then, and must get on."""
OUTGROWN: Final = 70
"""The exit code of a process that needs more memory than it may have."""
MEMORY_BYTES: Final = 768 * 1024 * 1024
REST: Final = 20
"""A rest is so many times as long as the work before it, up to ``LONGEST_REST_SECONDS``: beside a
busy server it leaves processor and database alone."""
LONGEST_REST_SECONDS: Final = 10.0


def begin(stop: Callable[[int, FrameType | None], None]) -> None:
    """Begin as such a process: low priority, little memory, and a log.

    Args:
        stop: called when the server tells the process to end.
    """
    os.nice(NICE)
    limit_memory(MEMORY_BYTES)
    log.configure()
    for interrupt in (signal.SIGINT, signal.SIGHUP):
        signal.signal(interrupt, signal.SIG_IGN)  # a terminal tells all processes of the server
    signal.signal(signal.SIGTERM, stop)


def rest_after(worked_seconds: float) -> float:
    """Seconds to rest after so much work."""
    return min(worked_seconds * REST, LONGEST_REST_SECONDS)


def limit_memory(memory_bytes: int) -> None:
    """Give this process a limit of memory; a lower one that it has already stays."""
    import resource  # noqa: PLC0415 - there is none on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
