"""Group commit: order, company, failures and the end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from runtime import gather
from runtime.gather import Gatherer


class Writer:
    """Remembers its batches; the first waits until released."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, batch: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(batch))
        if len(self.batches) == 1:
            self.go.wait(5)
        return [ValueError(item) if item < 0 else item * 10 for item in batch]


def test_who_comes_while_a_commit_is_under_way_shares_the_next() -> None:
    """One alone, then all the others together, in their order of arrival."""

    async def scene() -> tuple[list[object], list[list[int]]]:
        writer = Writer()
        gatherer: Gatherer[int, int] = Gatherer(writer)
        first = asyncio.create_task(gatherer.submit(1))
        while not writer.batches:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(gatherer.submit(item)) for item in (2, 3, 4)]
        await asyncio.sleep(0)
        writer.go.set()
        results = await asyncio.gather(first, *others)
        gatherer.close()
        return list(results), writer.batches

    results, batches = asyncio.run(scene())
    assert results == [10, 20, 30, 40]
    assert batches == [[1], [2, 3, 4]]


def test_an_exception_reaches_only_its_own_item() -> None:
    """It is that item's result; the neighbours have theirs."""

    async def scene() -> list[object]:
        writer = Writer()
        writer.go.set()
        gatherer: Gatherer[int, int] = Gatherer(writer)
        found = await asyncio.gather(*(gatherer.submit(item) for item in (1, -2, 3)))
        gatherer.close()
        return list(found)

    first, second, third = asyncio.run(scene())
    assert (first, third) == (10, 30)
    assert isinstance(second, ValueError)


def test_what_the_writer_raises_reaches_everybody_of_its_batch_and_nobody_else() -> None:
    """And the gatherer goes on."""

    async def scene() -> tuple[list[object], object]:
        def run(batch: Sequence[int]) -> list[int | Exception]:
            if 0 in batch:
                raise RuntimeError("broken")
            return list(batch)

        gatherer: Gatherer[int, int] = Gatherer(run)
        broken = await asyncio.gather(*(gatherer.submit(item) for item in (0, 1)))
        after = await gatherer.submit(7)
        gatherer.close()
        return list(broken), after

    broken, after = asyncio.run(scene())
    assert [type(result) for result in broken] == [RuntimeError] * 2
    assert after == 7


def test_a_caller_who_gave_up_disturbs_nobody() -> None:
    """Its item is committed all the same."""

    async def scene() -> tuple[object, list[list[int]]]:
        writer = Writer()
        gatherer: Gatherer[int, int] = Gatherer(writer)
        gone = asyncio.create_task(gatherer.submit(1))
        while not writer.batches:
            await asyncio.sleep(0.001)
        gone.cancel()
        other = asyncio.create_task(gatherer.submit(2))
        await asyncio.sleep(0)
        writer.go.set()
        found = await other
        gatherer.close()
        return found, writer.batches

    assert asyncio.run(scene()) == (20, [[1], [2]])


def test_a_batch_has_an_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than that waits for the next."""
    monkeypatch.setattr(gather, "MAX_BATCH", 2)

    async def scene() -> list[list[int]]:
        writer = Writer()
        writer.go.set()
        gatherer: Gatherer[int, int] = Gatherer(writer)
        await asyncio.gather(*(gatherer.submit(item) for item in range(5)))
        gatherer.close()
        return writer.batches

    batches = asyncio.run(scene())
    assert max(map(len, batches)) == 2
    assert [item for batch in batches for item in batch] == [0, 1, 2, 3, 4]


def test_closing_waits_for_the_commit_under_way() -> None:
    """Nothing accepted is left behind."""

    async def scene() -> object:
        writer = Writer()
        gatherer: Gatherer[int, int] = Gatherer(writer)
        task = asyncio.create_task(gatherer.submit(1))
        while not writer.batches:
            await asyncio.sleep(0.001)
        threading.Timer(0.05, writer.go.set).start()
        await asyncio.to_thread(gatherer.close)
        return await task

    assert asyncio.run(scene()) == 10
