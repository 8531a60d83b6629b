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
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Generic, TypeVar

from usher.core.errors import OverloadedError
from usher.core.log import get_logger

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

FULL_HOUSE: Final = 32
"""Smaller batches do not show how many items a second are possible."""


_Waiting = tuple[Item, "asyncio.Future[Result | Exception]", float]
"""An item, its caller's future, and its time of arrival by the loop's clock."""


def _nothing() -> None:
    """Do nothing about a writer that takes long."""


class GroupCommit(Generic[Item, Result]):
    """Gathers concurrent submissions into batches, in their order of arrival.

    Args:
        run: commits a batch and returns one result, or one exception, for each item. An exception
            that it raises reaches every caller of the batch.
        interrupt: ends a slow ``run`` soon; called in the event loop.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        interrupt: Callable[[], None] = _nothing,
    ) -> None:
        self._run = run
        self._interrupt = interrupt
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._waiting: list[_Waiting[Item, Result]] = []
        self._batch: list[_Waiting[Item, Result]] = []
        self._writing: asyncio.Task[None] | None = None
        self._wanted = 1
        self._patience = 0.0
        self._all_back = asyncio.Event()
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
        if full or self._stuck:
            get_logger().warning("event.turned_away", waiting=ahead, stuck=self._stuck)
            return _overloaded(ahead)
        future: asyncio.Future[Result | Exception] = loop.create_future()
        self._waiting.append((item, future, loop.time()))
        if len(self._waiting) >= self._wanted:
            self._all_back.set()
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        return await future

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting or self._wanted > 1:
            await self._await_the_answered()
            self._turn_away(loop.time())
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if not batch:
                break
            self._batch = batch
            started, oldest = loop.time(), batch[0][2]
            watch = loop.call_at(oldest + INTERRUPT_SECONDS, self._too_long, oldest)
            results: Sequence[Result | Exception]
            try:
                results = await loop.run_in_executor(
                    self._writer, self._run, [item for item, _, _ in batch]
                )
            except Exception as error:
                results = [error] * len(batch)
            watch.cancel()
            self._batch, self._stuck = [], False
            for (_, future, _), result in zip(batch, results, strict=True):
                if not future.done():  # a cancelled caller waits no more
                    future.set_result(result)
            took = max(loop.time() - started, 0.000_001)
            per_second = len(batch) / took
            if len(batch) >= FULL_HOUSE or per_second > self._per_second:
                self._per_second = per_second
            self._wanted = len(batch) + len(self._waiting) if len(batch) > 1 else 1
            self._patience = min(took, PATIENCE_SECONDS)
            await asyncio.sleep(0)  # let the answered ones go first
        self._wanted, self._writing = 1, None

    async def _await_the_answered(self) -> None:
        if len(self._waiting) < self._wanted:
            self._all_back.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._all_back.wait()

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
        """Wait for the batch under way and end the writer."""
        self._writer.shutdown()


def _overloaded(waiting: int) -> OverloadedError:
    return OverloadedError(f"{waiting} deliveries are waiting already.")
