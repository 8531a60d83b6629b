"""One look for all consumers of a process, so that idle ones cost next to nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Lock
from time import monotonic
from typing import Final

from usher.core.store.outbox_shards import Shards, Signs

FRESH_SECONDS: Final = 0.5
"""A look counts for so long."""


class Watch:
    """Looks whether any consumer may have something to do; for several threads.

    Args:
        clock: gives the current time, UTC.
        ticks: seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        shards: Shards,
        clock: Callable[[], datetime],
        ticks: Callable[[], float] = monotonic,
    ) -> None:
        self._shards = shards
        self._clock = clock
        self._ticks = ticks
        self._lock = Lock()
        self._signs: Signs | None = None
        self._looked_at = 0.0

    def signs(self) -> Signs:
        """The signs of now, or of a moment ago.

        Raises:
            DatabaseError: the database cannot be used.
        """
        with self._lock:
            if self._signs is None or self._ticks() - self._looked_at >= FRESH_SECONDS:
                looked_at = self._ticks()
                self._signs = self._shards.signs(self._clock())
                self._looked_at = looked_at
            return self._signs
