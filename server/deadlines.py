"""One time limit for many tasks, with one timer for all of them.

``asyncio.timeout`` makes and cancels a timer for each. That was a quarter of what the server itself
did for an event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

Result = TypeVar("Result")


class Deadlines:
    """Cancels what takes longer than a fixed time, the same for all.

    Args:
        seconds: the time.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def wait(self, work: Awaitable[Result]) -> Result:
        """Await ``work``, once at a time in each task.

        Raises:
            TimeoutError: it took too long, and was cancelled.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise AssertionError("unreachable")
        self._due[task] = due = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._cancel_late, loop)
        try:
            return await work
        except asyncio.CancelledError:
            # Cancelled by somebody else as well, the task must end.
            if task in self._late and not task.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._due.pop(task, None)
            self._late.discard(task)

    def _cancel_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel the late ones; the dict holds all in the order in which they are due."""
        self._timer, now = None, loop.time()
        for task, due in list(self._due.items()):
            if due > now:
                self._timer = loop.call_at(due, self._cancel_late, loop)
                return
            del self._due[task]
            self._late.add(task)
            task.cancel()
