"""The engine and its transactions, without any knowledge of the tables.

SQLite: WAL, ``synchronous=FULL`` (a commit survives loss of power), and one writer at a time, which
takes the write lock when its transaction begins. PostgreSQL: psycopg 3.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from usher.core.errors import (
    ConflictError,
    DatabaseAwayError,
    DatabaseError,
    ExtraMissingError,
)
from usher.core.store.refusals import meaning
from usher.core.strict_json import dumps

__all__ = ["Connection", "Database", "again_on_conflict"]

BUSY_TIMEOUT_MS: Final = 2_000
CONNECT_TIMEOUT_SECONDS: Final = 2
POOL_TIMEOUT_SECONDS: Final = 2
_NOTICE_A_DEAD_PEER: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
"""libpq's parameters; seconds, the last one milliseconds."""
RECYCLE_SECONDS: Final = 300
"""Age at which a connection to PostgreSQL is replaced. The connection of a frozen function, or one
that a network cut for idleness (AWS does after 350 s), would fail somebody's login."""
CHECKPOINT_PAGES: Final = 8_000
"""Length of SQLite's WAL at which a writer checkpoints it, 32 MiB. A page that changed many times
is copied once. Measured against the default of 1,000: a sixth more events a second."""
CACHE_KIB: Final = 16_384
"""Page cache of a connection to SQLite. It holds most pages that an event touches, with a million
users too."""
CONFLICT_ATTEMPTS: Final = 3
LOCK_POLL_SECONDS: Final = 0.001
"""Pause between a writer's tries for SQLite's write lock. SQLite's own pauses grow to a tenth of a
second; under load another process then has the lock each time."""
_DECODER: Final = json.JSONDecoder()
_READ_ONLY: Final = "usher_read_only"
_QUEUE: Final = "usher_queue"
_POOLED: Final = "usher_pooled"
_BEGIN_WRITE: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
"""The database's default may be another level, at which a transaction fails for what others do."""
_POSTGRESQL_SETTINGS: Final = {
    "lock_timeout": str(BUSY_TIMEOUT_MS),
    # Every statement has its index. A plan made while a table was empty scans the table, and is
    # kept until the first ANALYZE, however much the table grows (measured with 8,000 deliveries: a
    # quarter of an event's time, and growing).
    "enable_seqscan": "off",
    # enable_seqscan = off inflates the cost of a scan; jit would take it as worth compiling.
    "jit": "off",
}
_IN_SESSION: Final = "; ".join(f"SET {one} = {to}" for one, to in _POSTGRESQL_SETTINGS.items())
_IN_TRANSACTION: Final = "; ".join(
    f"SET LOCAL {one} = {to}" for one, to in _POSTGRESQL_SETTINGS.items()
)
_IN_TRANSACTION_QUEUED: Final = "SELECT " + ", ".join(
    f"set_config('{one}', '{to}', true)" for one, to in _POSTGRESQL_SETTINGS.items()
)
"""The same as one statement, which is all that a message in pipeline mode may hold."""

Result = TypeVar("Result")

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # psycopg raises what it logs


class Database:
    """One database, by its URL; connects on first use.

    Raises:
        ExtraMissingError: its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = self._sqlite() if self.is_sqlite else self._postgresql()
        self._under_way: dict[Connection, float] = {}
        self._checkpoint_lock = Lock()
        self._checkpointer: sqlite3.Connection | None = None
        self._pages_copied = 0
        self._reader = self.engine.execution_options(**{_READ_ONLY: True})

    @property
    def sqlite_path(self) -> Path | None:
        """The file of a SQLite database; None for PostgreSQL."""
        return Path(self.url.database or "usher.db") if self.is_sqlite else None

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction: committed at the end, rolled back by any exception.

        Raises:
            ConflictError: another writer was first.
            DatabaseAwayError: the database cannot be written to now.
            NotMigratedError: a table is missing.
            DatabaseError: any other error.
        """
        return self._transaction(self.engine)

    def interrupt(self, seconds: float) -> None:
        """End the transactions that have taken longer than ``seconds``, from another thread.

        They fail with DatabaseAwayError. A COMMIT that a hung server was already sent may still
        take effect; a retry of the delivery is then known by its id.
        """
        limit = monotonic() - seconds
        for connection in [one for one, since in list(self._under_way.items()) if since <= limit]:
            with suppress(SQLAlchemyError, OSError):  # the transaction has just ended by itself
                driver: Any = connection.connection.driver_connection
                if self.is_sqlite:
                    driver.interrupt()
                else:
                    # Shutting the socket down wakes up the driver, which waits on it.
                    with socket.socket(fileno=os.dup(driver.fileno())) as line:
                        line.shutdown(socket.SHUT_RDWR)

    def read(self) -> AbstractContextManager[Connection]:
        """A transaction that only reads: one consistent view, without waiting for a writer.

        Raises:
            DatabaseError: the database cannot be used.
        """
        return self._transaction(self._reader)

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with _translated(), engine.connect() as connection:
                self._under_way[connection] = monotonic()
                try:
                    with self._queue(connection), connection.begin():
                        yield connection
                finally:
                    del self._under_way[connection]
        except DatabaseAwayError:
            # Pooled connections may stay read-only, or open on a file that is gone.
            self.engine.dispose()
            raise

    @contextmanager
    def _queue(self, connection: Connection) -> Iterator[None]:
        """PostgreSQL: psycopg's pipeline mode. Rows are sent without waiting; COMMIT waits."""
        if self.is_sqlite or connection.get_execution_options().get(_READ_ONLY):
            yield
            return
        driver: Any = connection.connection.driver_connection
        info = connection.info  # taken now: a lost connection no longer gives it
        try:
            with driver.pipeline() as queue:
                info[_QUEUE] = queue
                try:
                    yield
                finally:
                    del info[_QUEUE]
        # Before BEGIN or after COMMIT; between them SQLAlchemy wraps the driver's errors.
        except driver.Error as error:
            connection.invalidate()
            words = str(error).partition("\n")[0]
            raise DatabaseAwayError(f"The connection is lost: {words}", words, lost=True) from error

    def pooled(self) -> bool:
        """Whether a pooler such as PgBouncer stands before PostgreSQL.

        Raises:
            DatabaseError: the database cannot be used.
        """
        with self.read() as connection:
            return bool(connection.info.get(_POOLED))

    def checkpoint_wal(self) -> bool:
        """Copy SQLite's write-ahead log into the file, beside a writer; nobody waits for it.

        At ``CHECKPOINT_PAGES`` the writer that fills the log copies the rest, and those behind it
        wait. The connection is not the pool's: otherwise writers would change connections and
        lose the pages in their caches.

        Returns:
            Whether the log has changed since the last call, so that more will soon follow.

        Raises:
            DatabaseError: the checkpoint failed; nothing is lost.
        """
        with self._checkpoint_lock:
            try:
                if self._checkpointer is None:
                    file = (self.sqlite_path or Path()).absolute().as_uri()
                    self._checkpointer = sqlite3.connect(
                        f"{file}?mode=rw", uri=True, check_same_thread=False
                    )
                checkpoint = self._checkpointer.execute("PRAGMA wal_checkpoint(PASSIVE)")
                copied = checkpoint.fetchone()[2]
            except sqlite3.Error as error:
                self._close_checkpointer()
                detail = f"SQLite's log cannot be copied into the file: {error}"
                raise DatabaseError(detail) from error
        before, self._pages_copied = self._pages_copied, copied
        return bool(copied != before)

    def _close_checkpointer(self) -> None:
        if self._checkpointer is not None:
            self._checkpointer.close()
            self._checkpointer = None

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        with self._checkpoint_lock:
            self._close_checkpointer()

    def _sqlite(self) -> Engine:
        engine = create_engine(
            self.url,
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
            json_serializer=dumps,
            json_deserializer=_loads,
            hide_parameters=True,
            pool_use_lifo=True,
        )
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine

    def _postgresql(self) -> Engine:
        try:
            engine = create_engine(
                self.url,
                connect_args={"connect_timeout": CONNECT_TIMEOUT_SECONDS, **_NOTICE_A_DEAD_PEER},
                json_serializer=dumps,
                hide_parameters=True,
                pool_use_lifo=True,
                pool_timeout=POOL_TIMEOUT_SECONDS,
                pool_recycle=RECYCLE_SECONDS,
            )
        except ImportError as error:  # SQLAlchemy loads the driver here
            raise ExtraMissingError("The driver for PostgreSQL is", "postgres") from error
        event.listen(engine, "connect", _prepare_postgresql)
        event.listen(engine, "begin", _begin_postgresql)
        event.listen(engine, "after_cursor_execute", _await_answer)
        event.listen(engine, "rollback", _drain_queue)
        return engine


def again_on_conflict(work: Callable[[], Result]) -> Result:
    """Run ``work``, a transaction, and repeat it after a conflict or deadlock.

    Raises:
        ConflictError: after ``CONFLICT_ATTEMPTS`` attempts.
    """
    for attempt in range(1, CONFLICT_ATTEMPTS + 1):
        try:
            return work()
        except ConflictError:
            if attempt == CONFLICT_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _loads(text: str) -> Any:
    """A JSON column's value; ``{}``, the most frequent one, without the parser."""
    return {} if text == "{}" else _DECODER.decode(text)


@contextmanager
def _translated() -> Iterator[None]:
    """Errors of SQLAlchemy and SQLite raised as ours, without statements or values."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        raise meaning(error, lost=lost) from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # _begin_sqlite says BEGIN
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        f"cache_size=-{CACHE_KIB}",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _prepare_postgresql(connection: Any, record: Any) -> None:
    """Settings of the session and named prepared statements only where the session is our own.

    Behind a pooler, the next transaction may run on another server process, which knows neither,
    and ours would be left to others.
    """
    connection.autocommit = True  # _begin_postgresql says BEGIN
    answering = connection.execute("SELECT pg_backend_pid()").fetchone()[0]
    record.info[_POOLED] = answering != connection.info.backend_pid
    if record.info[_POOLED]:
        connection.prepare_threshold = None
    else:
        connection.execute(_IN_SESSION)


def _begin_postgresql(connection: Connection) -> None:
    # The driver's own BEGIN waits for its answer, in pipeline mode too.
    options = connection.get_execution_options()
    if options.get("isolation_level") == "AUTOCOMMIT":
        return
    begin = _BEGIN_READ if options.get(_READ_ONLY) else _BEGIN_WRITE
    pooled = connection.info[_POOLED]
    if _QUEUE not in connection.info:
        connection.exec_driver_sql(f"{begin}; {_IN_TRANSACTION}" if pooled else begin)
        return
    connection.exec_driver_sql(begin)
    if pooled:
        connection.exec_driver_sql(_IN_TRANSACTION_QUEUED)


def _drain_queue(connection: Connection) -> None:
    """Take in the outstanding answers before a rollback; each only repeats the failure."""
    if not connection.invalidated and (queue := connection.info.get(_QUEUE)) is not None:
        driver: Any = connection.connection.driver_connection
        with suppress(driver.Error):
            queue.sync()


def _await_answer(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    """Wait for the answer to every statement but the first ones and INSERT without RETURNING."""
    queue = connection.info.get(_QUEUE)
    unanswered = (
        statement.startswith(("BEGIN", "INSERT", _IN_TRANSACTION_QUEUED))
        and "RETURNING" not in statement
    )
    if queue is not None and not unanswered:
        queue.sync()


def _begin_sqlite(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    if connection.get_execution_options().get(_READ_ONLY):
        driver.execute("BEGIN").close()
        return
    # IMMEDIATE: a transaction that reads first and writes later could fail at its first write.
    until = monotonic() + BUSY_TIMEOUT_MS / 1000
    driver.execute("PRAGMA busy_timeout=0").close()
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE").close()
                return
            except sqlite3.OperationalError as error:
                busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or monotonic() > until:
                    raise
            sleep(LOCK_POLL_SECONDS)
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}").close()
