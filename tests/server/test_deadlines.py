"""One time limit for many tasks: who is cancelled, and what then stays."""

from __future__ import annotations

import asyncio

import pytest

from usher.server.deadlines import Deadlines

DEADLINE = 0.05


async def never() -> None:
    """Wait for what does not come."""
    await asyncio.get_running_loop().create_future()


def test_what_is_done_in_time_is_returned_and_never_cancelled_afterwards() -> None:
    """The task goes on for longer than the limit, which was for one part of it."""

    async def scene() -> str:
        deadlines = Deadlines(DEADLINE)
        done = await deadlines.wait(asyncio.sleep(0, "done"))
        await asyncio.sleep(3 * DEADLINE)
        return done

    assert asyncio.run(scene()) == "done"


def test_what_takes_too_long_is_cancelled_and_its_task_goes_on() -> None:
    """It may wait again, and is late again."""

    async def scene() -> int:
        deadlines = Deadlines(DEADLINE)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await deadlines.wait(never())
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(scene()) == 0


def test_each_of_many_has_its_own_time() -> None:
    """The next is timed after the first was cancelled; none is forgotten."""

    async def scene() -> list[str]:
        deadlines, ends = Deadlines(0.3), []

        async def person(name: str) -> None:
            with pytest.raises(TimeoutError):
                await deadlines.wait(never())
            ends.append(name)

        first = asyncio.create_task(person("first"))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(person("second"))
        await asyncio.gather(first, second)
        return ends

    assert asyncio.run(scene()) == ["first", "second"]


def test_an_error_of_the_work_is_its_own() -> None:
    """It is raised as it is, in time."""

    async def fail() -> None:
        raise KeyError("own")

    async def scene() -> None:
        await Deadlines(DEADLINE).wait(fail())

    with pytest.raises(KeyError, match="own"):
        asyncio.run(scene())


@pytest.mark.parametrize("late", [False, True])
def test_a_task_that_somebody_else_cancels_ends(late: bool) -> None:
    """Also where it is late at the same moment."""

    async def scene() -> bool:
        deadlines = Deadlines(0.0 if late else 60.0)
        task = asyncio.create_task(deadlines.wait(never()))
        await asyncio.sleep(0)
        if late:
            deadlines._cancel_late(asyncio.get_running_loop())
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(scene())
