"""Group commit: order, company, failures and the end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from usher.core.errors import OverloadedError
from usher.server import group_commit as gather
from usher.server.group_commit import GroupCommit

Served = int | Exception


class Writer:
    """Remembers its batches; the first waits until released."""

    def __init__(self, patience: float = 5) -> None:
        self.patience = patience
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, batch: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(batch))
        if len(self.batches) == 1:
            self.go.wait(self.patience)
        return [ValueError(item) if item < 0 else item * 10 for item in batch]


def test_who_comes_while_a_commit_is_under_way_shares_the_next() -> None:
    """One alone, then all the others together, in their order of arrival."""

    async def scene() -> tuple[list[Served], list[list[int]]]:
        writer = Writer()
        group_commit: GroupCommit[int, int] = GroupCommit(writer)
        first = asyncio.create_task(group_commit.submit(1))
        while not writer.batches:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(group_commit.submit(item)) for item in (2, 3, 4)]
        await asyncio.sleep(0)
        writer.go.set()
        results = await asyncio.gather(first, *others)
        group_commit.close()
        return list(results), writer.batches

    results, batches = asyncio.run(scene())
    assert results == [10, 20, 30, 40]
    assert batches == [[1], [2, 3, 4]]


def test_an_exception_reaches_only_its_own_item() -> None:
    """It is that item's result; the neighbours have theirs."""

    async def scene() -> list[object]:
        writer = Writer()
        writer.go.set()
        group_commit: GroupCommit[int, int] = GroupCommit(writer)
        found = await asyncio.gather(*(group_commit.submit(item) for item in (1, -2, 3)))
        group_commit.close()
        return list(found)

    first, second, third = asyncio.run(scene())
    assert (first, third) == (10, 30)
    assert isinstance(second, ValueError)


def test_what_the_writer_raises_reaches_everybody_of_its_batch_and_nobody_else() -> None:
    """And the group_commit goes on."""

    async def scene() -> tuple[list[object], object]:
        def run(batch: Sequence[int]) -> list[int | Exception]:
            if 0 in batch:
                raise RuntimeError("broken")
            return list(batch)

        group_commit: GroupCommit[int, int] = GroupCommit(run)
        broken = await asyncio.gather(*(group_commit.submit(item) for item in (0, 1)))
        after = await group_commit.submit(7)
        group_commit.close()
        return list(broken), after

    broken, after = asyncio.run(scene())
    assert [type(result) for result in broken] == [RuntimeError] * 2
    assert after == 7


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_nothing_that_is_raised_ends_the_writer(error: type[BaseException]) -> None:
    """Its batch is told of an error at once, and the next one is committed."""

    async def scene() -> list[Served]:
        def run(batch: Sequence[int]) -> list[int | Exception]:
            if 0 in batch:
                raise error
            return list(batch)

        group_commit: GroupCommit[int, int] = GroupCommit(run)
        found = list(await asyncio.gather(*(group_commit.submit(item) for item in (0, 1))))
        found.append(await group_commit.submit(7))
        group_commit.close()
        return found

    *broken, after = asyncio.run(scene())
    assert [type(result) for result in broken] == [RuntimeError] * 2
    assert error.__name__ in str(broken[0])
    assert after == 7


def test_a_caller_who_gave_up_disturbs_nobody() -> None:
    """Its item is committed all the same."""

    async def scene() -> tuple[object, list[list[int]]]:
        writer = Writer()
        group_commit: GroupCommit[int, int] = GroupCommit(writer)
        gone = asyncio.create_task(group_commit.submit(1))
        while not writer.batches:
            await asyncio.sleep(0.001)
        gone.cancel()
        other = asyncio.create_task(group_commit.submit(2))
        await asyncio.sleep(0)
        writer.go.set()
        found = await other
        group_commit.close()
        return found, writer.batches

    assert asyncio.run(scene()) == (20, [[1], [2]])


def test_those_who_come_back_one_after_the_other_share_the_next_commit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first of them does not start a commit of its own."""
    monkeypatch.setattr(gather, "PATIENCE_SECONDS", 5.0)

    async def scene() -> list[int]:
        sizes: list[int] = []

        def run(batch: Sequence[int]) -> list[int | Exception]:
            sizes.append(len(batch))
            time.sleep(0.5)
            return list(batch)

        group_commit: GroupCommit[int, int] = GroupCommit(run)

        async def person(number: int) -> None:
            await group_commit.submit(number)
            await asyncio.sleep(number * 0.01)
            await group_commit.submit(number)

        await asyncio.gather(*(person(number) for number in range(4)))
        group_commit.close()
        return sizes

    assert asyncio.run(scene()) == [4, 4]


def test_a_batch_has_an_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than that waits for the next."""
    monkeypatch.setattr(gather, "MAX_BATCH", 2)

    async def scene() -> list[list[int]]:
        writer = Writer()
        writer.go.set()
        group_commit: GroupCommit[int, int] = GroupCommit(writer)
        await asyncio.gather(*(group_commit.submit(item) for item in range(5)))
        group_commit.close()
        return writer.batches

    batches = asyncio.run(scene())
    assert max(map(len, batches)) == 2
    assert [item for batch in batches for item in batch] == [0, 1, 2, 3, 4]


def test_closing_waits_for_the_commit_under_way() -> None:
    """Nothing accepted is left behind."""

    async def scene() -> object:
        writer = Writer()
        group_commit: GroupCommit[int, int] = GroupCommit(writer)
        task = asyncio.create_task(group_commit.submit(1))
        while not writer.batches:
            await asyncio.sleep(0.001)
        threading.Timer(0.05, writer.go.set).start()
        await asyncio.to_thread(group_commit.close)
        return await task

    assert asyncio.run(scene()) == 10


@pytest.mark.parametrize("stuck", [False, True])
def test_closing_interrupts_a_batch_that_hangs(
    monkeypatch: pytest.MonkeyPatch, *, stuck: bool
) -> None:
    """The loop stands still meanwhile. The batch is done when closing returns."""
    monkeypatch.setattr(gather, "END_SECONDS", 30)

    async def scene() -> Served:
        writer = Writer(patience=60)
        group_commit: GroupCommit[int, int] = GroupCommit(writer, writer.go.set)
        task = asyncio.create_task(group_commit.submit(1))
        await until(lambda: bool(writer.batches))
        group_commit._stuck = stuck
        monkeypatch.setattr(gather, "INTERRUPT_SECONDS", 30 if stuck else 0.01)
        group_commit.close()
        assert writer.go.is_set()
        assert group_commit._writer is not None
        assert not group_commit._writer.is_alive()
        return await task

    assert asyncio.run(scene()) == 10


def test_closing_gives_up_a_batch_that_hangs_even_when_interrupted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that is told to stop does so, and says what it left."""
    monkeypatch.setattr(gather, "END_SECONDS", 0.01)

    async def scene() -> None:
        writer = Writer(patience=60)
        told = threading.Event()
        group_commit: GroupCommit[int, int] = GroupCommit(writer, told.set)
        task = asyncio.create_task(group_commit.submit(1))
        await until(lambda: bool(writer.batches))
        monkeypatch.setattr(gather, "INTERRUPT_SECONDS", 0.01)  # for closing alone
        with capture_logs() as lines:
            group_commit.close()
        assert [line["event"] for line in lines] == ["batch.interrupted", "batch.given_up"]
        assert told.is_set()
        assert not task.done()  # nobody was told that it is stored
        writer.go.set()
        await task

    asyncio.run(scene())


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens soon."""
    while not true():
        await asyncio.sleep(0.001)


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "START_SECONDS", 0.2)
    monkeypatch.setattr(gather, "INTERRUPT_SECONDS", 0.3)
    monkeypatch.setattr(gather, "ANSWER_SECONDS", 0.4)


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds it full is turned away at once; those in it are served."""
    monkeypatch.setattr(gather, "MAX_WAITING", 2)

    async def scene() -> list[Served]:
        writer = Writer()
        group_commit: GroupCommit[int, int] = GroupCommit(writer)
        tasks = [asyncio.create_task(group_commit.submit(1))]
        await until(lambda: bool(writer.batches))
        tasks += [asyncio.create_task(group_commit.submit(item)) for item in (2, 3)]
        await asyncio.sleep(0)
        turned_away = await group_commit.submit(4)
        writer.go.set()
        found = [*await asyncio.gather(*tasks), turned_away]
        group_commit.close()
        return found

    *served, turned_away = asyncio.run(scene())
    assert served == [10, 20, 30]
    assert isinstance(turned_away, OverloadedError)


def test_who_would_wait_too_long_at_the_measured_rate_is_turned_away_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And let in again as soon as a batch shows that it goes faster."""
    monkeypatch.setattr(gather, "FULL_HOUSE", 4)
    monkeypatch.setattr(gather, "START_SECONDS", 1.0)
    monkeypatch.setattr(gather, "INTERRUPT_SECONDS", 9.0)
    pace = [1.0]

    def run(batch: Sequence[int]) -> list[int | Exception]:
        time.sleep(pace[0])
        return list(batch)

    async def scene() -> tuple[list[type], list[type]]:
        group_commit: GroupCommit[int, int] = GroupCommit(run)

        async def many(number: int) -> list[type]:
            return [type(r) for r in await asyncio.gather(*map(group_commit.submit, range(number)))]

        assert await many(4) == [int] * 4  # four a second, then
        pace[0] = 0.001
        slow = await many(8)
        fast = await many(8)
        group_commit.close()
        return slow, fast

    slow, fast = asyncio.run(scene())
    assert slow == [int] * 4 + [OverloadedError] * 4
    assert fast == [int] * 8


@pytest.mark.usefixtures("_hasty")
def test_a_batch_that_takes_too_long_is_interrupted_and_answers_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it then says is what its callers get."""
    monkeypatch.setattr(gather, "ANSWER_SECONDS", 30.0)

    async def scene() -> tuple[object, list[str]]:
        ended, told = threading.Event(), []

        def run(batch: Sequence[int]) -> list[int | Exception]:
            return [ended.wait(5) and 7 for _ in batch]

        def interrupt() -> None:
            told.append("interrupted")
            ended.set()

        group_commit: GroupCommit[int, int] = GroupCommit(run, interrupt)
        found = await group_commit.submit(1)
        group_commit.close()
        return found, told

    assert asyncio.run(scene()) == (7, ["interrupted"])


@pytest.mark.usefixtures("_hasty")
def test_a_writer_that_does_not_come_back_keeps_nobody_waiting() -> None:
    """Its batch and all behind it are turned away, newcomers at once; until it is back."""

    async def scene() -> tuple[list[Served], Served, Served]:
        writer = Writer()
        group_commit: GroupCommit[int, int] = GroupCommit(writer)
        first = asyncio.create_task(group_commit.submit(1))
        await until(lambda: bool(writer.batches))
        second = asyncio.create_task(group_commit.submit(2))
        early = list(await asyncio.gather(first, second))  # the writer waits for ``go``
        at_once = await group_commit.submit(3)
        writer.go.set()
        await until(lambda: not group_commit._batch)
        after = await group_commit.submit(4)
        group_commit.close()
        return early, at_once, after

    early, at_once, after = asyncio.run(scene())
    assert [type(one) for one in [*early, at_once]] == [OverloadedError] * 3
    assert after == 40


@pytest.mark.usefixtures("_hasty")
def test_who_has_waited_too_long_is_not_started_on() -> None:
    """The writer took its time over others; there would not be enough left."""

    async def scene() -> tuple[list[Served], list[list[int]]]:
        writer = Writer()
        group_commit: GroupCommit[int, int] = GroupCommit(writer)
        first = asyncio.create_task(group_commit.submit(1))
        await until(lambda: bool(writer.batches))
        late = asyncio.create_task(group_commit.submit(2))
        await asyncio.sleep(0.25)
        fresh = asyncio.create_task(group_commit.submit(3))
        await asyncio.sleep(0)
        writer.go.set()
        found = list(await asyncio.gather(first, late, fresh))
        group_commit.close()
        return found, writer.batches

    (first, late, fresh), batches = asyncio.run(scene())
    assert (first, fresh, batches) == (10, 30, [[1], [3]])
    assert isinstance(late, OverloadedError)


def test_what_waits_when_the_writer_ends_is_turned_away() -> None:
    """Its caller is told, rather than left waiting."""

    async def scene() -> list[Served]:
        writer = Writer()
        group_commit: GroupCommit[int, int] = GroupCommit(writer)
        first = asyncio.create_task(group_commit.submit(1))
        await until(lambda: bool(writer.batches))
        behind = asyncio.create_task(group_commit.submit(2))
        await asyncio.sleep(0)
        writer.go.set()
        await asyncio.to_thread(group_commit.close)
        return [await first, await behind, await group_commit.submit(3)]

    first, behind, after = asyncio.run(scene())
    assert first == 10
    assert [type(behind), type(after)] == [OverloadedError] * 2


def test_a_thread_that_cannot_be_started_is_tried_again_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those who wait are turned away at once, all of them; and closing does not fail either."""
    monkeypatch.setattr(gather, "MAX_BATCH", 2)

    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def scene() -> tuple[list[Served], Served]:
        unused: GroupCommit[int, int] = GroupCommit(Writer())
        writer = Writer()
        writer.go.set()
        group_commit: GroupCommit[int, int] = GroupCommit(writer)
        with monkeypatch.context() as broken:
            broken.setattr(threading.Thread, "start", fail)
            early = [await unused.submit(0)]
            early += await asyncio.gather(*(group_commit.submit(item) for item in (1, 2, 3)))
            unused.close()
        after = await group_commit.submit(4)
        group_commit.close()
        return early, after

    early, after = asyncio.run(asyncio.wait_for(scene(), 30))
    assert [type(one) for one in early] == [OverloadedError] * 4
    assert after == 40
