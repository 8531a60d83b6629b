"""Long polls: answered soon after a change, holding no thread, let go when the server ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing, contextmanager
from threading import Event, active_count
from typing import Any

import pytest
import urllib3
from structlog.testing import capture_logs

from tests.server.test_server import signup
from tests.server.waiting import until
from tests.support import SECRET, WAIT_SECONDS, Server
from usher.core.app import App
from usher.core.domain.keys import NewKey, Scope
from usher.core.errors import DatabaseAwayError, OverloadedError, TooManyRequestsError
from usher.core.settings import Settings
from usher.core.store.feed import News
from usher.functions._shared.failure import failure
from usher.functions._shared.http import Later, Response
from usher.server import long_polls
from usher.server.long_polls import MOST, MOST_OF_ONE, LongPolls

StartServer = Callable[..., Server]
CREATED = frozenset({"user.created"})


@contextmanager
def followed(start_server: StartServer, url: str, *options: str) -> Iterator[Follower]:
    """A server, and a program that follows its feed with a key."""
    settings = Settings(webhook_secrets=(SECRET,), database_url=url)
    with closing(App(settings)) as app:
        text, _ = app.keys.create(NewKey("feed", frozenset({Scope.CHANGES_READ}), None), "cli:ada")
    follower = Follower(start_server(url, *options), text)
    with follower.threads:
        yield follower


class Follower:
    """Asks for the feed."""

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        self.threads = ThreadPoolExecutor(2 * MOST_OF_ONE)
        self.key = key

    def ask(self, query: str = "") -> urllib3.BaseHTTPResponse:
        """One answer."""
        headers = {"Authorization": f"Bearer {self.key}"}
        url = f"{self.server.url}/api/changes{query}"
        return self.server.pool.request("GET", url, headers=headers)

    def open(self, query: str) -> socket.socket:
        """A connection on which the feed is asked for, and no answer read."""
        line = socket.create_connection(("127.0.0.1", self.server.port))
        line.sendall(
            f"GET /api/changes{query} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {self.key}\r\n\r\n".encode()
        )
        return line

    def wait(self, cursor: str, more: str = "") -> Future[urllib3.BaseHTTPResponse]:
        """One that waits."""
        return self.threads.submit(self.ask, f"?after={cursor}&wait=25{more}")


def test_who_waits_is_answered_when_there_is_a_change(
    start_server: StartServer, database_url: str
) -> None:
    """More of them than the server has threads for reading; others are answered meanwhile."""
    with followed(start_server, database_url) as follower:
        cursor = follower.ask().json()["next_cursor"]
        waiting = [follower.wait(cursor) for _ in range(MOST_OF_ONE - 1)]
        other = follower.wait(cursor, "&kinds=user.deleted")
        time.sleep(2 * long_polls.LOOK_SECONDS)
        assert not any(each.done() for each in waiting)
        assert follower.ask(f"?after={cursor}").json()["changes"] == []
        assert follower.server.post(signup()).status == 200
        for each in waiting:
            answer = each.result(WAIT_SECONDS).json()
            assert answer["changes"][0]["kind"] == "user.created"
        assert not other.done()  # no change of the kind that it waits for
        follower.server.stop()
        assert other.result(WAIT_SECONDS).json()["changes"] == []


def test_a_server_that_is_told_to_end_keeps_nobody_waiting(
    start_server: StartServer, postgresql_url: str
) -> None:
    """They get their cursor back; another server's who began to wait before them waits on."""
    with followed(start_server, postgresql_url, "--workers", "2") as follower:
        other = Follower(start_server(postgresql_url), follower.key)
        cursor = follower.ask().json()["next_cursor"]
        longest = other.wait(cursor)
        time.sleep(2 * long_polls.LOOK_SECONDS)
        waiting = [follower.wait(cursor) for _ in range(4)]
        time.sleep(2 * long_polls.LOOK_SECONDS)
        follower.server.process.terminate()
        assert next(as_completed([longest, *waiting])) is not longest
        for each in waiting:
            answer = each.result(WAIT_SECONDS)
            assert (answer.status, answer.json()["next_cursor"]) == (200, cursor)
        follower.server.process.wait(WAIT_SECONDS)
        other.server.stop()
        other.threads.shutdown()


def test_callers_that_are_gone_wait_no_more(start_server: StartServer, database_url: str) -> None:
    """Their places are free for others, at once."""
    with followed(start_server, database_url) as follower:
        query = f"?after={follower.ask().json()['next_cursor']}&wait=25"
        opened = [follower.open(query) for _ in range(MOST_OF_ONE)]

        def are_all_places_taken() -> bool:
            opened.append(follower.open(query))  # this one's may have been taken by the next line
            return follower.ask(f"{query[:-2]}1").status == 429

        until(are_all_places_taken)
        for each in opened:
            each.close()
        until(lambda: follower.ask(f"{query[:-2]}1").status == 200)


# --- without a server ----------------------------------------------------------------------------


class Feed:
    """Changes as they are said to be there."""

    def __init__(self) -> None:
        self.place = 0
        self.kinds = CREATED
        self.ending = Event()
        self.failing = False
        self.asked: list[int] = []

    def look(self, after: int) -> News:
        if self.failing:
            raise DatabaseAwayError
        return News(self.place, self.kinds if self.place > after else frozenset())

    def later(self, after: int, seconds: float = 30.0, caller: str = "key:a") -> Later:
        return Later(seconds, after, CREATED, caller, lambda: self.page(after, seconds))

    def page(self, after: int, seconds: float = 30.0, caller: str = "key:a") -> Response:
        """What the operation answers."""
        self.asked.append(after)
        found = self.place > after and self.kinds == CREATED
        later = None if found else self.later(max(after, self.place), seconds, caller)
        return Response(200, f"{self.place if found else ''}", later=later)


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Feed:
    """One without a change."""
    monkeypatch.setattr(long_polls, "LOOK_SECONDS", 0.01)
    return Feed()


def in_loop(feed: Feed, work: Callable[[LongPolls], Any]) -> None:
    """Run a coroutine with the long polls of a worker."""

    async def main() -> None:
        polls = LongPolls(feed.look, feed.ending.is_set)
        try:
            await asyncio.wait_for(work(polls), WAIT_SECONDS)
        finally:
            polls.close()

    asyncio.run(main())


async def run(work: Callable[[], Response]) -> Response:
    """As a thread would."""
    return work()


async def begun(polls: LongPolls, count: int) -> None:
    """So many wait."""
    while len(polls._waiting) < count:
        await asyncio.sleep(0)


def test_an_answer_that_is_there_waits_for_nothing(feed: Feed) -> None:
    """Nor for a look."""

    async def work(polls: LongPolls) -> None:
        answer = Response(200, "here")
        assert await polls.answer(answer, run) is answer
        assert polls._watching is None

    in_loop(feed, work)


def test_headers_of_the_first_answer_are_on_the_last(feed: Feed) -> None:
    """They say which pages may read it."""

    async def work(polls: LongPolls) -> None:
        first = feed.page(0).with_headers({"Vary": "Origin"})
        waiting = asyncio.create_task(polls.answer(first, run))
        await begun(polls, 1)
        feed.place = 7
        answer = await waiting
        assert (answer.body, answer.headers) == ("7", {"Vary": "Origin"})
        while not polls._watching.done():  # type: ignore[union-attr]
            await asyncio.sleep(0.001)

    in_loop(feed, work)


def test_a_change_of_another_kind_wakes_nobody(feed: Feed) -> None:
    """It costs the look that all share; a later one of the kind does."""

    async def work(polls: LongPolls) -> None:
        waiting = asyncio.create_task(polls.answer(feed.page(0), run))
        await begun(polls, 1)
        feed.kinds, feed.place = frozenset({"user.deleted"}), 7
        while polls._place < 7:
            await asyncio.sleep(0.001)
        assert feed.asked == [0]
        feed.kinds, feed.place = CREATED, 8
        assert (await waiting).body == "8"

    in_loop(feed, work)


def test_who_comes_late_is_not_forgotten(feed: Feed) -> None:
    """What was looked at between their page and their wait counts for them, too."""

    async def work(polls: LongPolls) -> None:
        first = asyncio.create_task(polls.answer(feed.page(0), run))
        await begun(polls, 1)
        late = feed.page(0)
        feed.place = 7
        assert (await first).body == "7"
        still = asyncio.create_task(polls.answer(feed.page(7), run))
        await begun(polls, 1)
        assert (await polls.answer(late, run)).body == "7"
        still.cancel()

    in_loop(feed, work)


def test_after_a_failover_that_lost_entries_who_waits_is_asked_once_not_all_the_time(
    feed: Feed,
) -> None:
    """The place that all share goes back with the audit."""

    async def work(polls: LongPolls) -> None:
        feed.place = 9
        first = asyncio.create_task(polls.answer(feed.page(9), run))
        await begun(polls, 1)
        feed.place = 7
        while polls._place != 7:
            await asyncio.sleep(0.001)
        feed.asked.clear()
        late = asyncio.create_task(polls.answer(feed.page(7), run))
        await begun(polls, 2)
        await asyncio.sleep(0.05)
        assert feed.asked == [7]
        feed.place = 10
        assert [(await each).body for each in (first, late)] == ["10", "10"]

    in_loop(feed, work)


def test_the_time_of_a_caller_ends(feed: Feed) -> None:
    """With the answer that there was."""

    async def work(polls: LongPolls) -> None:
        answer = await polls.answer(feed.page(0, 0.02), run)
        assert (answer.status, answer.body) == (200, "")
        assert await polls.answer(feed.page(0, 0), run)

    in_loop(feed, work)


def test_a_database_that_is_away_keeps_them_waiting(feed: Feed) -> None:
    """Until it is there again, or their time is over."""

    async def work(polls: LongPolls) -> None:
        feed.failing = True
        waiting = asyncio.create_task(polls.answer(feed.page(0), run))
        await begun(polls, 1)
        await asyncio.sleep(0.05)
        feed.failing, feed.place = False, 7
        assert (await waiting).body == "7"

    in_loop(feed, work)


def test_at_the_end_all_are_let_go(feed: Feed) -> None:
    """With the answer that there was, and nobody waits any more."""

    async def work(polls: LongPolls) -> None:
        waiting = [asyncio.create_task(polls.answer(feed.page(0), run)) for _ in range(3)]
        await begun(polls, 3)
        feed.ending.set()
        assert [(await each).body for each in waiting] == [""] * 3

    in_loop(feed, work)


def test_so_many_may_wait_and_no_thread_does(feed: Feed) -> None:
    """Of one caller a few, of all together more; whoever is refused may come again."""

    def unasked() -> Awaitable[None]:
        pytest.fail("the end of a refused caller's connection is awaited by nobody")

    async def work(polls: LongPolls) -> None:
        threads = active_count()
        pages = [
            Response(200, later=feed.later(0, caller=f"key:{number // MOST_OF_ONE}"))
            for number in range(MOST)
        ]
        waiting = [asyncio.create_task(polls.answer(page, run)) for page in pages[:MOST_OF_ONE]]
        await begun(polls, MOST_OF_ONE)
        with pytest.raises(TooManyRequestsError):
            await polls.answer(pages[0], run, unasked)
        waiting += [asyncio.create_task(polls.answer(page, run)) for page in pages[MOST_OF_ONE:]]
        await begun(polls, MOST)
        assert active_count() <= threads + 1
        with capture_logs() as lines:
            for _ in range(3):  # callers who are refused ask again and again
                more = Response(200, later=feed.later(0, caller="key:more"))
                with pytest.raises(OverloadedError) as refused:
                    await polls.answer(more, run, unasked)
                assert failure(refused.value).status == 503
        assert lines == [{"event": "feed.full", "log_level": "warning", "times": 1}]
        feed.place = 7
        assert [(await each).body for each in waiting] == ["7"] * MOST
        assert not polls._callers

    in_loop(feed, work)
