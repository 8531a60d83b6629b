"""A synchronisation every so often, in small steps beside a running server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from usher.core.domain.sync_plan import Plan, Run
from usher.core.errors import SyncRunningError, UsherError

if TYPE_CHECKING:
    from usher.core.identity.sync import Sync

PLAN: Final = Plan(pull=True, push=True)
"""Never a removal: nobody would see that it was refused, or that it was meant."""


class SyncRounds:
    """Mends both sides; of several workers and servers one at a time.

    Args:
        interval_seconds: between the end of one run and the next.
        clock: the current time, UTC.
    """

    def __init__(self, sync: Sync, interval_seconds: int, clock: Callable[[], datetime]) -> None:
        self._sync = sync
        self._interval = timedelta(seconds=interval_seconds)
        self._clock = clock
        self._steps: Iterator[Run] | None = None

    def step(self) -> bool:
        """One step of a run, where one is due; whether there is more to do at once.

        Raises:
            DatabaseError
        """
        if self._steps is None:
            last = self._sync.completed()
            if last is not None and last.at + self._interval > self._clock():
                return False
            self._steps = self._sync.run(PLAN, wait=False)
        try:
            if next(self._steps, None) is not None:
                return True
        except SyncRunningError:
            pass  # another worker or server is at it
        except UsherError:
            self._steps = None
            raise
        self._steps = None
        return False
