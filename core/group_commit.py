"""Many threads, one transaction: whoever comes while a commit is under way joins the next one.

No thread of its own: the first to come leads, runs everything that is waiting by then, and hands
the lead to one of those who came meanwhile. A batch of one is one plain call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH: Final = 256


class _Waiter(Generic[Item, Result]):
    """One submitted item and the thread that waits for its result."""

    __slots__ = ("done", "error", "item", "result", "wake")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.done = False
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.wake = Lock()
        self.wake.acquire()


class GroupCommit(Generic[Item, Result]):
    """Gathers concurrent submissions into batches.

    Args:
        run: takes a batch and returns one result, or one exception, for each item in order, after
            everything is committed. What it raises reaches every caller of the batch.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Sequence[Result | Exception]]) -> None:
        self._run = run
        self._lock = Lock()
        self._leading = False
        self._waiting: deque[_Waiter[Item, Result]] = deque()

    def submit(self, item: Item) -> Result:
        """Have ``item`` run in the next batch and return its own result."""
        waiter: _Waiter[Item, Result] = _Waiter(item)
        with self._lock:
            self._waiting.append(waiter)
            leads = not self._leading
            self._leading = True
        if not leads:
            waiter.wake.acquire()
        if not waiter.done:
            self._lead()
        if waiter.error is not None:
            raise waiter.error
        return waiter.result  # type: ignore[return-value]  # set for every waiter without error

    def _lead(self) -> None:
        with self._lock:
            count = min(len(self._waiting), MAX_BATCH)
            batch = [self._waiting.popleft() for _ in range(count)]
        try:
            results = self._run([waiter.item for waiter in batch])
            for waiter, result in zip(batch, results, strict=True):
                if isinstance(result, Exception):
                    waiter.error = result
                else:
                    waiter.result = result
        except BaseException as error:
            for waiter in batch:
                waiter.error = error
        finally:
            with self._lock:
                heir = self._waiting[0] if self._waiting else None
                self._leading = heir is not None
            for waiter in batch:
                waiter.done = True
                waiter.wake.release()
            if heir is not None:
                heir.wake.release()
