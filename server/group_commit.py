"""Group commit: deliveries that arrive during a transaction share the next one.

The event loop collects, one thread writes. Each request is answered after the commit of its own
data. Under load batches grow, and a commit costs each delivery less. After a shared commit the
writer waits briefly for as many to come back. Otherwise the first one back would get a commit of
its own, and the rest would wait for it. A lone delivery never waits.

Identity gives up after 5 s, so no delivery waits longer. One that could not be answered in time is
refused at once, and a batch that takes too long is interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Final, Generic, TypeVar

from usher.core.errors import OverloadedError
from usher.core.log import describe, get_logger

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH: Final = 256
MAX_WAITING: Final = 1_024
PATIENCE_SECONDS: Final = 0.02
"""Longest wait after a shared commit for as many deliveries as before. It is never longer than the
last write took."""

# By the age of the oldest item of a batch:
START_SECONDS: Final = 2.5
"""An older item is refused, and so is a new one that would get this old. Longer than a wait for a
lock (usher.core.store.database), so that a lock alone refuses nothing."""
INTERRUPT_SECONDS: Final = 3.5
ANSWER_SECONDS: Final = 3.9
"""All items are answered by then, even if the writer is not done."""

END_SECONDS: Final = 1.0
"""Time for an interrupted batch to reach the spool of a closing server. With INTERRUPT_SECONDS
it is less than any server is given to stop (STOP_SECONDS of usher.cli.dev.server)."""

FULL_HOUSE: Final = 32
"""Smaller batches do not show how many items a second are possible."""


_Waiting = tuple[Item, "asyncio.Future[Result | Exception]", float]
"""An item, its caller's future, and its time of arrival by the loop's clock."""


def _nothing() -> None:
    """Do nothing about a writer that takes long."""


class GroupCommit(Generic[Item, Result]):
    """Gathers concurrent submissions into batches, in their order of arrival.

    All but ``run`` happens in the event loop. A batch costs one message to the writer and one back.

    Args:
        run: commits a batch and returns one result, or one exception, for each item. An exception
            that it raises reaches every caller of the batch. SystemExit and its like become a
            RuntimeError.
        interrupt: ends a slow ``run`` soon; called in the event loop, or by ``close``.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        interrupt: Callable[[], None] = _nothing,
    ) -> None:
        self._run = run
        self._interrupt = interrupt
        self._handed: SimpleQueue[tuple[Sequence[Item], asyncio.AbstractEventLoop] | None]
        self._handed = SimpleQueue()
        self._writer: Thread | None = None
        self._closed = False
        self._waiting: list[_Waiting[Item, Result]] = []
        self._batch: list[_Waiting[Item, Result]] = []
        self._started = 0.0
        self._watch: asyncio.Handle | None = None
        self._patience: asyncio.Handle | None = None
        self._starts = False
        """Whether the next batch starts as soon as the loop has run what is ready."""
        self._wanted = 1
        self._per_second = float("inf")
        self._stuck = False

    @property
    def waiting(self) -> int:
        """The number of items that wait for the next batch."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Result | Exception:
        """Run ``item`` in the next batch and return its own result.

        Returns:
            OverloadedError where it could not be answered in time; the caller may try again.
        """
        loop = asyncio.get_running_loop()
        ahead = len(self._waiting) + len(self._batch)
        full = len(self._waiting) >= MAX_WAITING or ahead > self._per_second * START_SECONDS
        if full or self._stuck or self._closed:
            get_logger().warning("event.turned_away", waiting=ahead, stuck=self._stuck)
            return _overloaded(ahead)
        future: asyncio.Future[Result | Exception] = loop.create_future()
        self._waiting.append((item, future, loop.time()))
        if not self._batch and len(self._waiting) >= self._wanted:
            self._start_soon(loop)
        return await future

    def _start_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a batch after those that the loop has ready now: they may join it."""
        if not self._starts:
            self._starts = True
            loop.call_soon(self._start, loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hand the next batch to the writer, unless it has one."""
        self._starts = False
        if self._batch:
            return
        self._wanted = 1
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._turn_away(loop.time())
        if not self._waiting:
            return
        if self._closed or not self._has_writer():
            self._answer(self._waiting)
            self._waiting = []
            return
        batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
        self._batch = batch
        oldest, self._started = batch[0][2], loop.time()
        self._watch = loop.call_at(oldest + INTERRUPT_SECONDS, self._too_long, oldest)
        self._handed.put(([item for item, _, _ in batch], loop))

    def _has_writer(self) -> bool:
        """Start the writer unless it runs; False if the system has no thread to give now."""
        if self._writer is None:
            writer = Thread(target=self._write, name="writer", daemon=True)
            try:
                writer.start()
            except RuntimeError as error:
                get_logger().error("writer.not_started", detail=str(error))
                return False
            self._writer = writer
        return True

    def _write(self) -> None:
        """Run batches, in the writer's thread, until there is None."""
        while (handed := self._handed.get()) is not None:
            items, loop = handed
            results: Sequence[Result | Exception]
            try:
                results = self._run(items)
            except BaseException as error:  # the writer must go on
                get_logger().error("batch.failed", deliveries=len(items), **describe(error))
                known = error if isinstance(error, Exception) else RuntimeError(repr(error))
                results = [known] * len(items)
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(self._finish, loop, results)

    def _finish(
        self, loop: asyncio.AbstractEventLoop, results: Sequence[Result | Exception]
    ) -> None:
        """Answer for the batch, and see to the next one."""
        if self._watch is not None:
            self._watch.cancel()
        batch, self._batch, self._stuck = self._batch, [], False
        for (_, future, _), result in zip(batch, results, strict=True):
            if not future.done():  # a cancelled caller waits no more
                future.set_result(result)
        took = max(loop.time() - self._started, 0.000_001)
        per_second = len(batch) / took
        if len(batch) >= FULL_HOUSE or per_second > self._per_second:
            self._per_second = per_second
        self._wanted = len(batch) + len(self._waiting) if len(batch) > 1 else 1
        if self._wanted > 1 and len(self._waiting) < self._wanted:
            patience = min(took, PATIENCE_SECONDS)
            self._patience = loop.call_later(patience, self._start, loop)
        elif self._waiting:
            self._start_soon(loop)

    def _turn_away(self, now: float) -> None:
        """Refuse the items that have waited too long already."""
        late = 0
        while late < len(self._waiting) and now - self._waiting[late][2] > START_SECONDS:
            late += 1
        if late:
            self._answer(self._waiting[:late])
            self._waiting = self._waiting[late:]

    def _too_long(self, oldest: float) -> None:
        get_logger().error("batch.interrupted", deliveries=len(self._batch))
        loop = asyncio.get_running_loop()
        loop.call_at(oldest + ANSWER_SECONDS, self._answer_all, self._batch)
        self._interrupt()

    def _answer_all(self, batch: list[_Waiting[Item, Result]]) -> None:
        if batch is self._batch:  # the writer still hangs
            self._stuck = True
            self._answer(batch + self._waiting)
            self._waiting = []

    def _answer(self, late: list[_Waiting[Item, Result]]) -> None:
        get_logger().warning("event.turned_away", waiting=len(late), stuck=self._stuck)
        for _, future, _ in late:
            if not future.done():
                future.set_result(_overloaded(len(late)))

    def close(self) -> None:
        """Wait for the batch under way and end the writer.

        A batch that takes too long is interrupted, since the loop stands still and cannot do it.
        One that hangs even then is given up: none of its callers was told that it is stored.
        """
        self._closed = True
        if self._writer is None:
            return
        self._handed.put(None)
        self._writer.join(0 if self._stuck else INTERRUPT_SECONDS)
        if self._writer.is_alive():
            get_logger().error("batch.interrupted", deliveries=len(self._batch))
            self._interrupt()
            self._writer.join(END_SECONDS)
        if self._writer.is_alive():
            get_logger().error("batch.given_up", deliveries=len(self._batch))


def _overloaded(waiting: int) -> OverloadedError:
    return OverloadedError(f"{waiting} deliveries are waiting already.")
