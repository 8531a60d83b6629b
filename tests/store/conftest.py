"""The store's tests run with each driver: three drivers, one behaviour."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.support import databases
from usher.core.store.database import Database

database_url = databases("sqlite", "postgresql", "pg8000")


@pytest.fixture
def opened() -> Iterator[Callable[[str], Database]]:
    """Open databases, and close them after the test."""
    with ExitStack() as stack:

        def opens(url: str) -> Database:
            found = Database(url)
            stack.callback(found.dispose)
            return found

        yield opens
