"""Writers of one SQLite file, in several processes, take turns without sleeping through theirs."""

from __future__ import annotations

import pytest

from tests.pipeline.outage_support import locked
from tests.store.store_support import counts, execute
from usher.core.app import App
from usher.core.errors import DatabaseAwayError
from usher.core.store.drivers import sqlite


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone."""
    return sqlite_url


def test_who_waits_looks_as_often_as_at_first(
    usher: App, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a gap of milliseconds between two transactions of a busy process is not missed."""
    store = usher.store.database
    execute(store, "DELETE FROM grants")
    waited: list[float] = []
    with locked(sqlite_url) as other:

        def wait(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 50:
                other.rollback()

        monkeypatch.setattr(sqlite, "sleep", wait)
        execute(store, "DELETE FROM grants")
    assert waited == [sqlite.LOCK_POLL_SECONDS] * 50


def test_who_waits_too_long_is_told_and_the_connection_serves_on(
    usher: App, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next reader of that connection waits again where SQLite has it wait."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 20)
    store = usher.store.database
    with locked(sqlite_url), pytest.raises(DatabaseAwayError, match="database is locked"):
        execute(store, "DELETE FROM grants")
    assert counts(store)["users"] == 0
    with store.read() as transaction:
        assert transaction.sql.exec_driver_sql("PRAGMA busy_timeout").scalar_one() == 20
