"""The engine and its transactions; nothing here knows what is stored.

SQLite: WAL, ``synchronous=FULL`` (a commit survives loss of power), one writer at a time, who takes
the write lock when the transaction begins. PostgreSQL: psycopg 3.
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

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    DBAPIError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from usher.core.errors import (
    ConflictError,
    DatabaseAwayError,
    DatabaseError,
    ExtraMissingError,
    NotMigratedError,
)
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
"""libpq's parameters, in seconds, but the last in milliseconds."""
_AWAY_SQLITE: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
    }
)
_AWAY_POSTGRESQL: Final = ("08", "25006", "53", "55P03", "57", "58")
"""How the SQLSTATE of PostgreSQL begins when it is away: no connection, read-only, out of
resources (a full disk too), a lock not had in time, an operator's intervention, a system error."""
RECYCLE_SECONDS: Final = 300
"""An older connection to PostgreSQL is not used again: a frozen function's, or one that a network
cut for idleness (AWS does after 350 s), would fail somebody's login."""
CHECKPOINT_PAGES: Final = 8_000
"""The log is copied into SQLite's file when it is so long, 32 MiB: a page that changed many times
meanwhile is copied once. Measured against the default of 1,000: a sixth more events a second."""
CACHE_KIB: Final = 16_384
"""What a connection to SQLite keeps of the file at most, so that most pages that an event touches
are at hand with a million users, too."""
CONFLICT_ATTEMPTS: Final = 3
TURN_SECONDS: Final = 0.001
"""How often a writer of SQLite looks whether another process is done. SQLite itself looks less and
less often, up to ten times a second, and under load finds somebody else there each time."""
_DECODER: Final = json.JSONDecoder()
_READ_ONLY: Final = "usher_read_only"
_QUEUE: Final = "usher_queue"

Result = TypeVar("Result")

logging.getLogger("psycopg").addHandler(logging.NullHandler())  # it says what it raises as well


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
        self._copying = Lock()
        self._copier: sqlite3.Connection | None = None
        self._copied = 0
        self._reader = self.engine.execution_options(**{_READ_ONLY: True})

    @property
    def sqlite_path(self) -> Path | None:
        """The file of a SQLite database; None for PostgreSQL."""
        return Path(self.url.database or "usher.db") if self.is_sqlite else None

    def write(self) -> AbstractContextManager[Connection]:
        """A transaction: committed at the end, rolled back by any exception.

        Raises:
            ConflictError: another writer was first.
            DatabaseAwayError: it cannot be written to now; DatabaseError: anything else.
        """
        return self._transaction(self.engine)

    def interrupt(self, seconds: float) -> None:
        """End, from another thread, the transactions that have taken longer than so many seconds.

        They then fail with DatabaseAwayError. What a hung server does with a COMMIT that it was
        already sent, nobody can know; the same delivery coming again is told by its id.
        """
        limit = monotonic() - seconds
        for connection in [one for one, since in list(self._under_way.items()) if since <= limit]:
            with suppress(SQLAlchemyError, OSError):  # it has just ended by itself
                driver: Any = connection.connection.driver_connection
                if self.is_sqlite:
                    driver.interrupt()
                else:
                    # The driver waits on this socket, and wakes up when it is shut down.
                    with socket.socket(fileno=os.dup(driver.fileno())) as line:
                        line.shutdown(socket.SHUT_RDWR)

    def read(self) -> AbstractContextManager[Connection]:
        """A consistent view that never waits for a writer.

        Raises:
            DatabaseError: it cannot be used.
        """
        return self._transaction(self._reader)

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        try:
            with _worded(), engine.connect() as connection:
                self._under_way[connection] = monotonic()
                try:
                    with self._queue(connection), connection.begin():
                        yield connection
                finally:
                    del self._under_way[connection]
        except DatabaseAwayError:
            # A connection may be read-only, or to a file that is not there any more, for good.
            self.engine.dispose()
            raise

    @contextmanager
    def _queue(self, connection: Connection) -> Iterator[None]:
        """PostgreSQL: rows are sent without waiting for what it says to them; COMMIT waits."""
        if self.is_sqlite or connection.get_execution_options().get(_READ_ONLY):
            yield
            return
        driver: Any = connection.connection.driver_connection
        info = connection.info  # out of reach once the connection is lost
        try:
            with driver.pipeline() as queue:
                info[_QUEUE] = queue
                try:
                    yield
                finally:
                    del info[_QUEUE]
        except driver.Error as error:  # before BEGIN or after COMMIT: between, SQLAlchemy words it
            connection.invalidate()
            raise DatabaseAwayError(f"The connection is lost: {error}", lost=True) from error

    def check(self) -> None:
        """Reach the newest table, and write as an event would, but nothing.

        Raises:
            DatabaseError: away, which it is as well when locked or read-only, or not migrated.
        """
        with self.write() as connection:
            connection.execute(text("SELECT 1 FROM syncs LIMIT 1"))
            connection.execute(text("DELETE FROM deliveries WHERE 1 = 0"))

    def checkpoint_wal(self) -> bool:
        """Copy what SQLite's log holds into the file, beside whoever writes; nobody waits for it.

        What is left when the log is full, whoever fills it copies, and those behind wait for it.
        On a connection of its own: with one of the pool's, writers would change connections, and
        read again what the other had at hand.

        Returns:
            Whether events keep coming, so that there will soon be more.

        Raises:
            DatabaseError: it cannot be done now; nothing is lost by that.
        """
        with self._copying:
            try:
                if self._copier is None:
                    file = (self.sqlite_path or Path()).absolute().as_uri()
                    self._copier = sqlite3.connect(
                        f"{file}?mode=rw", uri=True, check_same_thread=False
                    )
                copied = self._copier.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[2]
            except sqlite3.Error as error:
                self._close_copier()
                detail = f"SQLite's log cannot be copied into the file: {error}"
                raise DatabaseError(detail) from error
        before, self._copied = self._copied, copied
        return bool(copied != before)

    def _close_copier(self) -> None:
        if self._copier is not None:
            self._copier.close()
            self._copier = None

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()
        with self._copying:
            self._close_copier()

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
        except ImportError as error:  # SQLAlchemy loads the driver by now
            raise ExtraMissingError("The driver for PostgreSQL is", "postgres") from error
        event.listen(engine, "connect", _prepare_postgresql)
        event.listen(engine, "begin", _begin_postgresql)
        event.listen(engine, "after_cursor_execute", _await_answer)
        event.listen(engine, "rollback", _take_in)
        return engine


def again_on_conflict(work: Callable[[], Result]) -> Result:
    """Run a transaction that another may have come before; two that waited for each other, too."""
    for attempt in range(1, CONFLICT_ATTEMPTS + 1):
        try:
            return work()
        except ConflictError:
            if attempt == CONFLICT_ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _loads(text: str) -> Any:
    """What a JSON column holds; most of them hold nothing, which is told without a parser."""
    return {} if text == "{}" else _DECODER.decode(text)


@contextmanager
def _worded() -> Iterator[None]:
    """Errors of SQLAlchemy and of SQLite as ours: for people, without a statement or a value."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        fault = getattr(error, "orig", None) or error
        message = str(fault).partition("\n")[0]
        deadlocked = getattr(fault, "sqlstate", None) == "40P01"
        if isinstance(error, IntegrityError) or deadlocked:
            raise ConflictError(f"Another change came first ({type(fault).__name__}).") from error
        if "no such table" in message or "does not exist" in message:
            raise NotMigratedError(
                f"The database is not migrated ({message[:120]}). Run: usher db upgrade"
            ) from error
        detail = f"The database cannot be used: {message[:200]}"
        lost = isinstance(error, DBAPIError) and error.connection_invalidated
        if lost or _is_away(error):
            raise DatabaseAwayError(detail, lost=lost) from error
        raise DatabaseError(detail) from error


def _is_away(error: Exception) -> bool:
    """Whether the fault is the database's, and not that of what it was given."""
    fault = getattr(error, "orig", None) or error
    if isinstance(fault, sqlite3.Error):
        code: int = getattr(fault, "sqlite_errorcode", 0)  # 0 where the module itself refused
        return code & 0xFF in _AWAY_SQLITE
    state = getattr(fault, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_AWAY_POSTGRESQL)
    return isinstance(error, OperationalError | InterfaceError | PoolTimeoutError)


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _begin_sqlite
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        f"cache_size=-{CACHE_KIB}",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _prepare_postgresql(connection: Any, _record: Any) -> None:
    for setting in (
        f"lock_timeout = {BUSY_TIMEOUT_MS}",
        # Every statement has its index. Planned while a table was empty, it would be kept with a
        # scan of that table however much it grows, until the first ANALYZE (measured with 8,000
        # deliveries: a quarter of an event's time, and growing).
        "enable_seqscan = off",
        # What the planner then thinks of a table without an index is not worth compiling for.
        "jit = off",
    ):
        connection.execute(f"SET {setting}")
    connection.commit()
    connection.autocommit = True  # we say BEGIN ourselves, see _begin_postgresql


def _begin_postgresql(connection: Connection) -> None:
    # The driver's own BEGIN waits for its answer, even where others are sent without.
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN")


def _take_in(connection: Connection) -> None:
    """Before a rollback: the answers still to come, of which each says but that all has failed."""
    if not connection.invalidated and (queue := connection.info.get(_QUEUE)) is not None:
        driver: Any = connection.connection.driver_connection
        with suppress(driver.Error):
            queue.sync()


def _await_answer(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
    """Whatever is more than BEGIN or a plain INSERT has an answer that somebody looks at."""
    queue = connection.info.get(_QUEUE)
    unanswered = statement.startswith(("BEGIN", "INSERT")) and "RETURNING" not in statement
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
            sleep(TURN_SECONDS)
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}").close()
