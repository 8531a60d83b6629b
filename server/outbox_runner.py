"""Hands changes over to all consumers, each in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Event, Thread
from time import monotonic, thread_time
from typing import Final, Protocol

from usher.core.errors import UsherError
from usher.core.log import Recurring, describe, get_logger
from usher.core.outbox.consumer import Consumer
from usher.core.outbox.dispatcher import Turn
from usher.server.beside import rest_after
from usher.server.handler_child import HandlerChild

LOOK_SECONDS: Final = 1.0
"""Between two looks for one consumer, once there was nothing to do."""
FAILED_SECONDS: Final = 2.0
STOP_SECONDS: Final = 2.0
"""For hand-overs under way when told to stop; those that take longer are made again."""
_WATCH_SECONDS: Final = 0.2


class Turns(Protocol):
    """The dispatcher of one consumer."""

    def turn(self) -> Turn:
        """Work on it for a while."""


class Runner:
    """Works on consumers until told to stop.

    Args:
        consumers: gives those that there are now; asked every so often.
        turns: makes the dispatcher of a consumer.
        once: end as soon as nothing is due.
    """

    def __init__(
        self,
        consumers: Callable[[], Sequence[Consumer]],
        turns: Callable[[Consumer], Turns],
        *,
        once: bool = False,
    ) -> None:
        self._consumers = consumers
        self._turns = turns
        self._once = once
        self._workers: dict[str, _Worker] = {}
        self._ended = 0

    @property
    def handed_over(self) -> int:
        """How many changes were handed over so far."""
        return self._ended + sum(worker.handed_over for worker in self._workers.values())

    @property
    def failed(self) -> UsherError | None:
        """With ``once``, the error at which a consumer's work ended."""
        return next((each.failed for each in self._workers.values() if each.failed), None)

    def run(self, ends: Callable[[], bool]) -> None:
        """Work until ``ends`` says so; with ``once``, until nothing is due."""
        looked_at: float | None = None
        pause = Event()
        while not ends():
            if looked_at is None or monotonic() - looked_at >= LOOK_SECONDS:
                self._follow()
                looked_at = monotonic()
            if self._once and not any(each.is_alive() for each in self._workers.values()):
                break
            pause.wait(_WATCH_SECONDS)
        deadline = monotonic() + STOP_SECONDS
        for worker in self._workers.values():
            worker.stop.set()
        for worker in self._workers.values():
            worker.join(max(0.0, deadline - monotonic()))

    def _follow(self) -> None:
        """Begin with new consumers, and with those that are there again; end with others."""
        found = {each.name: each for each in self._consumers()}
        workers = {
            name: each for name, each in self._workers.items() if each.is_alive() or self._once
        }
        ended = [each for name, each in self._workers.items() if name not in workers]
        for name in workers.keys() - found.keys():
            workers[name].stop.set()
        new = {
            name: _Worker(consumer, self._turns(consumer), self._crowd, once=self._once)
            for name, consumer in found.items()
            if name not in workers
        }
        self._ended += sum(worker.handed_over for worker in ended)
        self._workers = workers | new  # a new one, since threads count those of the old one
        for worker in new.values():
            worker.start()

    def _crowd(self) -> int:
        return sum(worker.is_alive() for worker in self._workers.values())


class _Worker(Thread):
    """The work on one consumer.

    Attributes:
        stop: set where it is to end.
        failed: the error at which it ended.
    """

    def __init__(
        self, consumer: Consumer, turns: Turns, crowd: Callable[[], int], *, once: bool
    ) -> None:
        super().__init__(name=consumer.name, daemon=True)
        self.handed_over = 0
        self.failed: UsherError | None = None
        self.stop = Event()
        self._child = consumer if isinstance(consumer, HandlerChild) else None
        self._turns = turns
        self._crowd = crowd
        self._once = once
        self._known = 0

    def run(self) -> None:
        """Take turns until told to stop."""
        failing, pause = Recurring(), 0.0
        try:
            while not self.stop.wait(pause):
                try:
                    pause = self._turn()
                except Exception as error:  # noqa: BLE001 - a database that is away, say
                    if self._once and isinstance(error, UsherError):
                        self.failed = error
                        break
                    what, pause = describe(error), FAILED_SECONDS
                    if failing.again((what["code"], what["detail"])):
                        times = failing.times
                        get_logger().warning(
                            "outbox.waits", consumer=self.name, times=times, **what
                        )
                else:
                    failing.over()
        finally:
            if self._child is not None:
                self._child.close()

    def _turn(self) -> float:
        """Take a turn; return the seconds until the next one."""
        before = self._cpu_seconds()
        turn = self._turns.turn()
        spent = self._cpu_seconds() - before
        self.handed_over += turn.handed_over
        arrived, self._known = turn.known > self._known, turn.known
        if turn.gone:
            self.stop.set()
        if turn.worked and arrived and not self._once:
            return rest_after(spent * self._crowd())  # all of them share one server
        if turn.worked or turn.more:
            return 0.0
        if self._once:
            self.stop.set()
        if self._child is not None:
            self._child.rest()
        return LOOK_SECONDS

    def _cpu_seconds(self) -> float:
        return thread_time() + (self._child.cpu_seconds if self._child is not None else 0.0)
