"""Ten handlers, one of which sleeps and one raises, for ``python -m bench.events_http --handlers``.

They are for every kind of change, so each event has work for all of them.
"""

import time
from collections.abc import Callable

from usher import Change, after


def _taker(number: int) -> Callable[[Change], None]:
    """Make a handler that takes every change, and does nothing with it."""

    @after("*", name=f"takes.{number}")
    def take(_change: Change) -> None:
        """Nothing."""

    return take


take_1, take_2, take_3, take_4 = map(_taker, range(1, 5))
take_5, take_6, take_7, take_8 = map(_taker, range(5, 9))


@after("*")
def sleep(_change: Change) -> None:
    """Hold on until it is ended at its limit."""
    time.sleep(3600)


@after("*")
def fail(change: Change) -> None:
    """Raise at each change."""
    raise LookupError(change.id)
