"""Fixtures: one server for all bad input."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.door import Door
from tests.support import OLD_SECRET, SECRET, Server, account
from usher.emulator.payload import event_body


@pytest.fixture(scope="session")
def door_server(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Path]]:
    """One server for all of these tests: none of them may break it for the next."""
    folder = tmp_path_factory.mktemp("bad_input")
    database = Path(shutil.copy(sqlite_template, folder / "usher.db"))
    settings = {
        "USHER_DATABASE_URL": f"sqlite:///{database}",
        "USHER_WEBHOOK_SECRETS": f"{SECRET.decode()},{OLD_SECRET.decode()}",
    }
    started = Server(folder, settings)
    yield started, database
    alive = started.process.poll() is None
    started.stop()
    assert alive, "the server ended by itself"


@pytest.fixture
def door(door_server: tuple[Server, Path]) -> Iterator[Door]:
    """The server, which must still take a good event after the test."""
    found = Door(*door_server)
    yield found
    body = event_body("validate", account())
    assert found.deliver(body).status == 204
    assert found.ledger(body) == [("validate", "applied", 204, body)]
