"""Processes beside a server: their priority and their memory."""

from __future__ import annotations

import os
from typing import Final

NICE: Final = 10
"""Not 19: on SQLite such a process holds the lock for writing now and then, and must get on."""
OUTGROWN: Final = 70
"""The exit code of a process that needs more memory than it may have."""


def lower_limits(memory_bytes: int) -> None:
    """Give this process a low priority, and a limit of memory."""
    os.nice(NICE)
    limit_memory(memory_bytes)


def limit_memory(memory_bytes: int) -> None:
    """Give this process a limit of memory; a lower one that it has already stays."""
    import resource  # noqa: PLC0415 - there is none on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
