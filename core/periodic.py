"""The periodic tasks of an installation, told once for every place that Usher runs in.

A server takes their steps at intervals (``usher.server.periodic_tasks``). A function has no process
between requests: its schedule invokes it, and ``usher.core.scheduled`` takes their steps in turns.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from usher.core.app import App
from usher.core.settings import Settings

MAINTENANCE_SECONDS: Final = 3_600.0
OVERSIZED_SECONDS: Final = 10.0
"""Interval of writing how many requests were refused for their size."""
PUSHES_SECONDS: Final = 2.0
"""Interval of checks for due pushes, one short read each."""
SYNCS_SECONDS: Final = 60.0
"""Interval of checks for a due sync, one short read each."""


class Task(Struct, frozen=True):
    """A periodic task.

    Attributes:
        name: as the log has it.
        step: makes the step of an App: it does a little work, and returns whether there may be
            more to do at once.
        every_seconds: of a server's rest between two looks.
        asked_for: whether these settings ask for it.
        needs_identity: nothing of it can be done without a way to Identity's admin API.
    """

    name: str
    step: Callable[[App], Callable[[], bool]]
    every_seconds: float
    asked_for: Callable[[Settings], bool] = lambda _: True
    needs_identity: bool = False


def _pushes(settings: Settings) -> bool:
    return settings.tells_identity and not settings.observes


def _syncs(settings: Settings) -> bool:
    return _pushes(settings) and settings.sync_interval_seconds > 0


TASKS: Final = (
    Task("maintenance", lambda usher: usher.maintenance.step, MAINTENANCE_SECONDS),
    Task("oversized", lambda usher: usher.oversized.flush, OVERSIZED_SECONDS),
    Task("pushes", lambda usher: usher.pushes.step, PUSHES_SECONDS, _pushes, needs_identity=True),
    Task("sync", lambda usher: usher.sync.step, SYNCS_SECONDS, _syncs, needs_identity=True),
)
"""Run by a server and by a scheduled invocation alike."""

OF_SERVERS: Final = MappingProxyType(
    {
        "spool": "a function keeps nothing while the database is away: it has no disk that stays",
        "sinks": "a server starts a process for them; a scheduled invocation looks by itself",
        "wal_checkpoint": "a function runs on PostgreSQL alone",
        "backlogs": "a function has no /metrics",
    }
)
"""A server's other periodic tasks, by name, and why a scheduled invocation runs none of them."""
