"""Requests that wait for a change: awaited in the event loop, with one look for all of them.

Nobody holds a thread meanwhile. While somebody waits, the audit is looked at twice a second; those
whose kinds of changes are among the new ones are answered anew. All are let go when the server is
told to end, so that it ends at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from usher.core.domain.outbox import matches
from usher.core.errors import FeedFullError, TooManyRequestsError, UsherError
from usher.core.log import Recurring, describe, get_logger
from usher.functions._shared.http import Later, Response

if TYPE_CHECKING:
    from usher.core.store.feed import News

LOOK_SECONDS: Final = 0.5
MOST: Final = 200
"""Requests that wait, at most."""
MOST_OF_ONE: Final = 10
"""Of one caller."""

Work = Callable[[], Response]


class LongPolls:
    """The requests of one worker that wait for a change.

    Args:
        look: reads what is new since a place.
        ending: whether the server was told to end.
    """

    def __init__(self, look: Callable[[int], News], ending: Callable[[], bool]) -> None:
        self._look = look
        self._ending = ending
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._waiting: dict[asyncio.Future[bool], Later] = {}
        self._callers: Counter[str] = Counter()
        self._place = 0
        self._full = Recurring()
        self._watching: asyncio.Task[None] | None = None

    async def answer(
        self,
        first: Response,
        run: Callable[[Work], Awaitable[Response]],
        left: Callable[[], Awaitable[None]] | None = None,
    ) -> Response:
        """The answer once there is one, or the last one when the caller's time is over.

        Args:
            first: what was found at once.
            run: has a thread do work on the database.
            left: called once the caller may wait; what it gives ends when the caller is gone, who
                waits no more then. None: nobody says so.

        Raises:
            FeedFullError: too many wait already.
            TooManyRequestsError: too many of this caller's do.
        """
        response, later = first, first.later
        if later is None:
            return first
        until = asyncio.get_running_loop().time() + later.seconds
        with self._counted(later.caller), _watched(left) as gone:
            while later is not None and await self._woken(later, until, gone):
                response = await run(later.again)
                later = response.later
        return response.with_headers(first.headers)

    def close(self) -> None:
        """End the look; nobody waits any more."""
        if self._watching is not None:
            self._watching.cancel()
        self._thread.shutdown()

    @contextmanager
    def _counted(self, caller: str) -> Iterator[None]:
        if self._callers.total() >= MOST:
            if self._full.again(None):
                get_logger().warning("feed.full", times=self._full.times)
            raise FeedFullError
        if self._callers[caller] >= MOST_OF_ONE:
            raise TooManyRequestsError(1)
        self._callers[caller] += 1
        try:
            yield
        finally:
            self._callers[caller] -= 1
            self._callers += Counter()  # forgets who waits no more

    async def _woken(self, later: Later, until: float, gone: asyncio.Future[None]) -> bool:
        """Whether there may be a change; False: the time is over, the caller or the server ends."""
        loop = asyncio.get_running_loop()
        if loop.time() >= until or gone.done():
            return False
        future: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_at(until, _settle, future, False)

        def leave(_gone: asyncio.Future[None]) -> None:
            _settle(future, False)

        gone.add_done_callback(leave)
        self._waiting[future] = later
        if self._watching is None or self._watching.done():
            self._place = later.after
            self._watching = loop.create_task(self._watch())
        elif later.after < self._place:  # only the others were shown the changes in between
            _settle(future, True)
        try:
            return await future
        finally:
            timer.cancel()
            gone.remove_done_callback(leave)
            del self._waiting[future]

    async def _watch(self) -> None:
        """Look for changes as long as somebody waits."""
        loop, failing = asyncio.get_running_loop(), Recurring()
        while self._waiting:
            await asyncio.sleep(LOOK_SECONDS)
            if self._ending():
                self._let_go()
                continue
            try:
                news = await loop.run_in_executor(self._thread, self._look, self._place)
            except UsherError as error:
                what = describe(error)
                if failing.again((what["code"], what["detail"])):
                    get_logger().warning("feed.not_read", times=failing.times, **what)
                continue
            failing.over()
            self._place = news.place
            for future, later in list(self._waiting.items()):
                if any(matches(later.kinds, kind) for kind in news.kinds):
                    _settle(future, True)

    def _let_go(self) -> None:
        for future in self._waiting:
            _settle(future, False)


@contextmanager
def _watched(left: Callable[[], Awaitable[None]] | None) -> Iterator[asyncio.Future[None]]:
    """The end of something awaited, as a future that can be asked; it is not awaited any longer."""
    loop = asyncio.get_running_loop()
    gone = loop.create_future() if left is None else asyncio.ensure_future(left())
    try:
        yield gone
    finally:
        gone.cancel()


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)
