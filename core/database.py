"""The engine and its transactions; nothing here knows what is stored.

SQLite: WAL, ``synchronous=FULL`` (a commit survives loss of power), one writer at a time, who takes
the write lock when the transaction begins. PostgreSQL: psycopg 3.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from core.errors import ConflictError, DatabaseError
from core.strict_json import dumps

BUSY_TIMEOUT_MS: Final = 2_000
CONNECT_TIMEOUT_SECONDS: Final = 3
_READ_ONLY: Final = "usher_read_only"


class Database:
    """One database, by its URL; connects on first use."""

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._sqlite() if self.is_sqlite else self._postgresql()
        self._reader = self.engine.execution_options(**{_READ_ONLY: True})

    @property
    def sqlite_path(self) -> Path | None:
        """The file of a SQLite database; None for PostgreSQL."""
        return Path(self.url.database or "usher.db") if self.is_sqlite else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed at the end, rolled back by any exception.

        Raises:
            ConflictError: another writer was first; DatabaseError: it cannot be used.
        """
        with _worded(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view that never waits for a writer.

        Raises:
            DatabaseError: it cannot be used.
        """
        with _worded(), self._reader.begin() as connection:
            yield connection

    def check(self) -> None:
        """Reach the database and its newest table.

        Raises:
            DatabaseError: away, or not migrated.
        """
        with self.read() as connection:
            connection.execute(text("SELECT 1 FROM audit LIMIT 1"))

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _sqlite(self) -> Engine:
        engine = create_engine(
            self.url,
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
            json_serializer=dumps,
            hide_parameters=True,
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgresql(self) -> Engine:
        return create_engine(
            self.url,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS},
            json_serializer=dumps,
            hide_parameters=True,
            pool_use_lifo=True,
        )


@contextmanager
def _worded() -> Iterator[None]:
    """Errors of SQLAlchemy as ours: for people, without a statement or a value."""
    try:
        yield
    except SQLAlchemyError as error:
        message = str(getattr(error, "orig", None) or error).partition("\n")[0]
        if isinstance(error, IntegrityError):
            raise ConflictError(
                f"Another change came first ({type(error.orig).__name__})."
            ) from error
        if "no such table" in message or "does not exist" in message:
            raise DatabaseError(
                f"The database is not migrated ({message[:120]}). Run: usher db upgrade"
            ) from error
        raise DatabaseError(f"The database cannot be used: {message[:200]}") from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    # IMMEDIATE: a transaction that reads first and writes later could fail at its first write.
    reads = connection.get_execution_options().get(_READ_ONLY)
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")
