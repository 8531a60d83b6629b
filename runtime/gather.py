"""Group commit: deliveries that come while a transaction is under way share the next one.

The event loop gathers, one thread writes. Each request is answered after the commit that holds its
own data; the fuller the house, the larger the batch, and the less a commit costs each. Without the
short wait after a shared commit, those just answered and those just waiting would take turns in two
batches of half the size (measured: a quarter fewer events a second). Who comes alone never waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH: Final = 256
REGATHER_SECONDS: Final = 0.002
"""How long a writer that had company waits for the same number to come back, before it writes."""


class Gatherer(Generic[Item, Result]):
    """Gathers concurrent submissions into batches, in their order of arrival.

    Args:
        run: takes a batch, commits it, and returns one result, or one exception, for each item.
            What it raises reaches every caller of the batch.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result | Exception]]) -> None:
        self._run = run
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer")
        self._waiting: list[tuple[Item, asyncio.Future[Result | Exception]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._wanted = 1
        self._all_back = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many wait for the next batch."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Result | Exception:
        """Have ``item`` run in the next batch and return its own result."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result | Exception] = loop.create_future()
        self._waiting.append((item, future))
        if len(self._waiting) >= self._wanted:
            self._all_back.set()
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        return await future

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await self._regather()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            results: Sequence[Result | Exception]
            try:
                results = await loop.run_in_executor(
                    self._writer, self._run, [item for item, _ in batch]
                )
            except Exception as error:
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():  # a caller that was cancelled waits no more
                    future.set_result(result)
            self._wanted = len(batch) + len(self._waiting) if len(batch) > 1 else 1
            await asyncio.sleep(0)  # let the answered ones go first
        self._wanted, self._writing = 1, None

    async def _regather(self) -> None:
        if len(self._waiting) < self._wanted:
            self._all_back.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(REGATHER_SECONDS):
                    await self._all_back.wait()

    def close(self) -> None:
        """Wait for the batch under way and end the writer."""
        self._writer.shutdown()
