"""Handlers called in this very process, for a function that has no processes beside it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

from usher.core.domain.outbox import HANDLER, Change
from usher.core.outbox.calls import OverdueError, call
from usher.core.outbox.consumer import Done, Failed
from usher.core.outbox.handlers import Handler

Alarm = Callable[[float], None]
"""Has SIGALRM come to this process after so many seconds, and then again every quarter of one; 0:
it does not come any more."""
AGAIN_SECONDS: Final = 0.25
"""A destructor swallows what is raised in it; the next alarm then stops the handler."""
SPARE_SECONDS: Final = 2.0
"""A hand-over ends so long before the process would, so that its failure can be kept."""


class InProcess:
    """A handler as a consumer; see ``usher.core.outbox.consumer.Consumer``.

    Args:
        left: gives the seconds that this process still has.
        alarm: interrupts the handler; where there is no timer (WebAssembly), another thread's.
    """

    def __init__(self, handler: Handler, left: Callable[[], float], alarm: Alarm) -> None:
        self.name = HANDLER + handler.name
        self.patterns = handler.patterns
        self.seconds = handler.seconds
        self._handler = handler
        self._left = left
        self._alarm = alarm

    def hand_over(self, change: Change) -> Done | Failed:
        """Call the handler; an alarm stops it at its limit, or where no time is left."""
        seconds = min(self.seconds, limit(self._left()))
        runs = True

        def stop(_signal: int, _frame: FrameType | None) -> None:
            if runs:
                raise OverdueError

        before = signal.signal(signal.SIGALRM, stop)
        try:
            try:
                self._alarm(seconds)
                return call(self._handler, change)
            finally:
                runs = False
        except OverdueError:
            runs = False  # it may have come as the line above was about to be
            return Failed(f"was stopped after {seconds:g} s")
        finally:
            self._alarm(0)
            signal.signal(signal.SIGALRM, before)


def limit(left: float) -> float:
    """The seconds for a hand-over that begins now, where the process still has so many."""
    return max(0.1, left - SPARE_SECONDS)


def by_timer(seconds: float) -> None:
    """Set the alarm by the operating system's timer."""
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
