"""Writers of one SQLite file, in several processes, take turns without sleeping through theirs."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from core import database
from core.app import App, use
from core.errors import DatabaseAwayError
from core.settings import Settings
from tests.core.outage_support import locked
from tests.core.store_support import counts, execute
from tests.support import Clock


@pytest.fixture
def on_sqlite(
    sqlite_url: str, make_settings: Callable[..., Settings], clock: Clock
) -> Iterator[App]:
    """The App on SQLite."""
    with use(App(make_settings(database_url=sqlite_url), clock)) as app:
        yield app


def test_who_waits_looks_as_often_as_at_first(
    on_sqlite: App, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a gap of milliseconds between two transactions of a busy process is not missed."""
    store = on_sqlite.store.database
    execute(store, "DELETE FROM grants")
    waited: list[float] = []
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN IMMEDIATE")

        def wait(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 50:
                other.rollback()

        monkeypatch.setattr(database, "sleep", wait)
        execute(store, "DELETE FROM grants")
    assert waited == [database.TURN_SECONDS] * 50


def test_who_waits_too_long_is_told_and_the_connection_serves_on(
    on_sqlite: App, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next reader of that connection waits again where SQLite has it wait."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    store = on_sqlite.store.database
    with locked(sqlite_url), pytest.raises(DatabaseAwayError, match="database is locked"):
        execute(store, "DELETE FROM grants")
    assert counts(store)["users"] == 0
    with store.write() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 20
