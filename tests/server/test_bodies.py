"""Room for the bodies of several requests: who gets it, and in which order."""

from __future__ import annotations

import asyncio

import pytest

from usher.core.errors import OverloadedError
from usher.server import bodies
from usher.server.bodies import Room


def test_room_is_given_in_the_order_of_arrival() -> None:
    """A small one that comes later does not overtake a large one, which would wait for ever."""

    async def scene() -> list[str]:
        room, got = Room(10), list[str]()

        async def take(name: str, size: int) -> None:
            await room.take(size)
            got.append(name)

        await take("first", 6)
        others = [asyncio.create_task(take("large", 8)), asyncio.create_task(take("small", 1))]
        await asyncio.sleep(0)
        assert got == ["first"]
        room.give_back(6)
        await asyncio.gather(*others)
        return got

    assert asyncio.run(scene()) == ["first", "large", "small"]


def test_where_no_room_comes_free_the_request_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """And those behind it get what there is."""
    monkeypatch.setattr(bodies, "ROOM_SECONDS", 0.01)

    async def scene() -> None:
        room = Room(10)
        await room.take(6)
        with pytest.raises(OverloadedError):
            await room.take(8)
        await room.take(4)
        room.give_back(6)
        await room.take(6)

    asyncio.run(scene())


@pytest.mark.parametrize("given", [False, True])
def test_a_request_that_is_given_up_takes_no_room(given: bool) -> None:
    """Whether it waits still, or has been given its room just now."""

    async def scene() -> None:
        room = Room(10)
        await room.take(10)
        waiting = asyncio.create_task(room.take(10))
        behind = asyncio.create_task(room.take(1))
        await asyncio.sleep(0)
        if given:
            room.give_back(10)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        if not given:
            room.give_back(10)
        await behind
        await room.take(9)

    asyncio.run(scene())
