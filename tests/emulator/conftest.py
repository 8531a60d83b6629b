"""Emulators, each with a database of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.emulator.pushes_support import Together, together
from tests.emulator.world import Respond, World, world
from tests.support import Clock
from usher.core.settings import Settings


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """``make(respond=None, **options)`` gives a world."""
    with ExitStack() as stack:

        def build(respond: Respond | None = None, **options: Any) -> World:
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            folder.mkdir()
            return stack.enter_context(world(folder, respond, **options))

        yield build


@pytest.fixture
def quiet(make: Callable[..., World]) -> World:
    """An emulator that sends no events."""
    return make()


@pytest.fixture
def loud(make: Callable[..., World]) -> World:
    """An emulator whose events are all accepted."""
    return make(lambda _event, _number: 204)


@pytest.fixture
def site(
    make: Callable[..., World],
    make_settings: Callable[..., Settings],
    database_url: str,
    clock: Clock,
) -> Iterator[Together]:
    """A site with an administrator, each side told of the other; on each database."""
    with together(make, make_settings, database_url, clock) as found:
        yield found
