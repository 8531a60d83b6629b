"""Handlers called in this very process, for a function that has no processes beside it."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Collection
from types import FrameType
from typing import TYPE_CHECKING, Final

from usher.core.domain.outbox import HANDLER, Change
from usher.core.outbox.calls import OverdueError, call
from usher.core.outbox.consumer import Consumer, Done, Failed
from usher.core.outbox.handlers import Handler

if TYPE_CHECKING:
    from usher.core.outbox.dispatcher import Dispatcher

SPARE_SECONDS: Final = 2.0
"""A hand-over ends so long before the process would, so that its failure can be kept."""


class InProcess:
    """A handler as a consumer; see ``usher.core.outbox.consumer.Consumer``.

    Args:
        left: gives the seconds that this process still has.
    """

    def __init__(self, handler: Handler, left: Callable[[], float]) -> None:
        self.name = HANDLER + handler.name
        self.patterns = handler.patterns
        self.seconds = handler.seconds
        self._handler = handler
        self._left = left

    def hand_over(self, change: Change) -> Done | Failed:
        """Call the handler; an alarm stops it at its limit, or where no time is left."""
        seconds = min(self.seconds, limit(self._left()))
        before = signal.signal(signal.SIGALRM, _stop)
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            return call(self._handler, change)
        except OverdueError:
            return Failed(f"was stopped after {seconds:g} s")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def limit(left: float) -> float:
    """The seconds for a hand-over that begins now, where the process still has so many."""
    return max(0.1, left - SPARE_SECONDS)


def hand_over(
    consumers: Collection[Consumer],
    turns: Callable[[Consumer], Dispatcher],
    may_go_on: Callable[[], bool],
) -> bool:
    """Hand over all that is due, in turns, while there is time.

    Returns:
        Whether nothing is left that is due.

    Raises:
        DatabaseError: the database cannot be used.
    """
    waiting = [turns(consumer) for consumer in consumers]
    random.shuffle(waiting)  # where time runs out, another one is the first the next time
    while waiting:
        for one in tuple(waiting):
            if not may_go_on():
                return False
            turn = one.turn()
            if turn.gone or not (turn.worked or turn.more):
                waiting.remove(one)
    return True


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise OverdueError
