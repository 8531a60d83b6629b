"""Requests refused for their size (413), and events by their mark (401), for ``usher doctor``.

Anybody can send one, and none is verified. So they are counted in memory, by a few names and the
day, and written to the database now and then: a stranger causes a few small rows a day, however
many requests they send.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from threading import Lock
from typing import Final, Protocol

from msgspec import Struct

from usher.core.bounds import MAX_EVENT_BYTES
from usher.core.errors import BodyTooLargeError

EVENT: Final = "event"
"""Its headers show a good signature of Identity's; too large all the same."""
REQUEST: Final = "request"
"""Any other."""


class Refused(Struct, frozen=True):
    """The number of such requests, and the last day (YYYY-MM-DD, UTC) that had one."""

    count: int
    last_day: str


class Table(Protocol):
    """Where the counts are kept, by ``YYYY-MM-DD:kind``."""

    def add(self, counts: Mapping[str, int]) -> None:
        """Add to them, in one transaction."""

    def since(self, day: str) -> Mapping[str, int]:
        """Those from a day on."""


class Oversized:
    """The count of one process.

    Args:
        table: opens the database; called only where there is something to write, or to read.
        clock: gives the current time, UTC.
    """

    def __init__(self, table: Callable[[], Table], clock: Callable[[], datetime]) -> None:
        self._table = table
        self._clock = clock
        self._lock = Lock()
        self._counts: Counter[str] = Counter()

    def count(self, error: BodyTooLargeError) -> None:
        """Count a refused request, in memory."""
        self._count(EVENT if error.limit_bytes >= MAX_EVENT_BYTES else REQUEST)

    def count_marked(self, mark: str) -> None:
        """Count an event without a good signature, by its mark, in memory."""
        self._count(mark)

    def _count(self, kind: str) -> None:
        with self._lock:
            self._counts[f"{self._clock():%Y-%m-%d}:{kind}"] += 1

    def flush(self) -> bool:
        """Write the counts, for the periodic tasks; there is never more to do at once.

        Raises:
            DatabaseError: nothing was written; the counts are kept for the next time.
        """
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if counts:
            try:
                self._table().add(counts)
            except BaseException:
                with self._lock:
                    self._counts.update(counts)
                raise
        return False

    def since(self, day: datetime) -> Mapping[str, Refused]:
        """The counts on record from a day on, by ``EVENT``, ``REQUEST`` and marks; no zeros.

        Raises:
            DatabaseError: the database cannot be used.
        """
        refused: dict[str, Refused] = {}
        for name, count in sorted(self._table().since(f"{day:%Y-%m-%d}").items()):  # by day
            last_day, _, kind = name.partition(":")
            before = refused[kind].count if kind in refused else 0
            refused[kind] = Refused(before + count, last_day)
        return refused
