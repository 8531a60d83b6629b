"""SQLite's log is copied into its file beside the writer, so that no event waits for all of it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.server.outages import wait_until
from tests.store.store_support import counts, deliver
from tests.support import Server, account, signed
from usher.core.app import App
from usher.core.errors import DatabaseError
from usher.core.store.database import Database
from usher.core.store.drivers import sqlite as sqlite_driver


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """SQLite alone."""
    return sqlite_url


def in_the_file_alone(path: Path) -> int:
    """How many users the file holds without its log."""
    alone = path.with_name("alone.db")
    shutil.copy(path, alone)
    with closing(sqlite3.connect(alone)) as connection:
        found: int = connection.execute("SELECT count(*) FROM users").fetchone()[0]
    return found


def log_length(path: Path) -> int:
    """Pages in the log."""
    with closing(sqlite3.connect(path)) as connection:
        found: int = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    return found


def sign_up(app: App, count: int) -> None:
    """New people, in one transaction."""
    deliver(app, [signed("signup", account(email=f"{n}@example.com")) for n in range(count)])


def test_it_is_copied_and_told_whether_there_was_any(usher: App) -> None:
    """Where there was, more may come soon."""
    database = usher.store.database
    path = database.sqlite_path
    assert path is not None
    sign_up(usher, 3)
    assert in_the_file_alone(path) == 0
    assert database.checkpoint_wal() is True
    assert in_the_file_alone(path) == 3
    assert database.checkpoint_wal() is False
    sign_up(usher, 2)  # the log begins anew
    assert database.checkpoint_wal() is True
    assert in_the_file_alone(path) == 5
    assert database.checkpoint_wal() is False


def test_neither_a_reader_nor_a_writer_waits_for_it_or_holds_it_up(usher: App) -> None:
    """What a long read still needs stays in the log, and so does what is not committed."""
    database = usher.store.database
    path = database.sqlite_path
    assert path is not None
    sign_up(usher, 1)
    with database.read() as reading:
        assert reading.sql.exec_driver_sql("SELECT count(*) FROM users").scalar_one() == 1
        sign_up(usher, 2)
        with database.write() as writing:
            writing.sql.exec_driver_sql("DELETE FROM grants")
            database.checkpoint_wal()
        assert in_the_file_alone(path) <= 1
        assert reading.sql.exec_driver_sql("SELECT count(*) FROM users").scalar_one() == 1
    database.checkpoint_wal()
    assert in_the_file_alone(path) == 3
    assert counts(database)["grants"] == 0


def test_a_long_log_begins_anew(usher: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once nobody reads from it; a reader neither waits nor makes the checkpoint wait."""
    monkeypatch.setattr(sqlite_driver, "LONG_LOG_PAGES", 20)
    database = usher.store.database
    path = database.sqlite_path
    assert path is not None
    with database.read() as reading:
        assert reading.sql.exec_driver_sql("SELECT count(*) FROM users").scalar_one() == 0
        sign_up(usher, 50)
        length = log_length(path)
        database.checkpoint_wal()
        sign_up(usher, 1)
        assert log_length(path) > length > 20
    database.checkpoint_wal()
    sign_up(usher, 1)
    assert log_length(path) < length
    assert counts(database)["users"] == 52


def test_what_cannot_be_copied_is_told(tmp_path: Path) -> None:
    """An error of ours, which the server logs once a minute."""
    path = tmp_path / "usher.db"
    database = Database(f"sqlite:///{path}")
    with pytest.raises(DatabaseError, match="cannot be copied into the file: unable to open"):
        database.checkpoint_wal()
    assert not path.exists()  # nor is one made
    path.write_text("not a database " * 100)
    with pytest.raises(DatabaseError, match="cannot be copied into the file: file is not"):
        database.checkpoint_wal()


def test_a_server_copies_it_by_itself(
    start_server: Callable[..., Server], sqlite_url: str, tmp_path: Path
) -> None:
    """Within seconds, however few the events."""
    server = start_server(sqlite_url)
    assert server.post(signed("signup", account(), at=datetime.now(UTC))).status == 200
    wait_until(lambda: in_the_file_alone(tmp_path / "usher.db") == 1)
