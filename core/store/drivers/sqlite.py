"""SQLite by the standard library: WAL, every commit durable, one writer at a time."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from msgspec import convert

from usher.core.errors import DatabaseError
from usher.core.store.drivers import Fault, Rows
from usher.core.store.drivers.engine import engine_over

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from usher.core.store.drivers.statement import Insert, Statement

BUSY_TIMEOUT_MS: Final = 2_000
CHECKPOINT_PAGES: Final = 32_000
"""Length of the WAL at which a writer checkpoints it itself, 128 MiB: only where nobody else does,
or a long read holds it up."""
LONG_LOG_PAGES: Final = 4_000
"""Length of the WAL, 16 MiB, from which a checkpoint beside the writer goes on to its end."""
FEW_PAGES: Final = 400
CATCHING_UP: Final = 8
"""Times that a checkpoint goes after what was written meanwhile, until it is ``FEW_PAGES``."""
END_OF_LOG_SECONDS: Final = 0.005
"""How long a checkpoint may hold up a writer, for the log to begin anew."""
CACHE_KIB: Final = 16_384
"""Page cache of a connection. It holds most pages that an event touches, with a million users
too."""
CACHED_STATEMENTS: Final = 512
"""Compiled statements that a connection keeps; their texts differ by the number of rows."""
LOCK_POLL_SECONDS: Final = 0.001
"""Pause between a writer's tries for the write lock. SQLite's own pauses grow to a tenth of a
second; under load another process then has the lock each time."""
MAX_PARAMETERS: Final = 32_000
"""Parameters in one statement; SQLite takes 32,766 (since 3.32)."""
_LIST: Final = "(?...)"
_AWAY: Final = frozenset(
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
_DUPLICATE: Final = frozenset(
    {
        sqlite3.SQLITE_CONSTRAINT_UNIQUE,
        sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        sqlite3.SQLITE_CONSTRAINT_ROWID,
    }
)
_NOT_STORABLE: Final = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH}
)
_NOT_MIGRATED: Final = re.compile("no such (table|column)|table [^ ]+ has no column")


class SqliteDriver:
    """One SQLite file; see ``Driver``."""

    name = "sqlite"
    recycle_seconds = 0
    rest_seconds: float | None = None

    def __init__(self, url: str) -> None:
        self.path = Path(unquote(url.partition("://")[2].partition("?")[0][1:]) or "usher.db")
        self._checkpoint_lock = Lock()
        self._checkpointer: sqlite3.Connection | None = None
        self._pages_copied = 0

    def connect(self) -> SqliteSession:
        """A new connection, with all that it must keep to."""
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_TIMEOUT_MS / 1000,
            isolation_level=None,  # the session says BEGIN
            check_same_thread=False,
            cached_statements=CACHED_STATEMENTS,
        )
        try:
            for pragma in (
                "journal_mode=WAL",
                "synchronous=FULL",
                f"wal_autocheckpoint={CHECKPOINT_PAGES}",
                f"cache_size=-{CACHE_KIB}",
                "foreign_keys=ON",
                "temp_store=MEMORY",  # a statement's own journal; in a file, each page is written
            ):
                connection.execute(f"PRAGMA {pragma}").close()
        except sqlite3.Error:
            connection.close()
            raise
        return SqliteSession(connection)

    def fault(self, error: BaseException) -> Fault | None:
        """The meaning of an error."""
        if not isinstance(error, sqlite3.Error):
            return None
        code: int = getattr(error, "sqlite_errorcode", 0)  # 0: the module itself raised it
        if code in _DUPLICATE:
            return Fault.DUPLICATE
        if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:  # RAISE, which may say anything
            return Fault.REFUSED
        if code & 0xFF in _NOT_STORABLE:
            return Fault.NOT_STORABLE
        if code & 0xFF in _AWAY:
            return Fault.AWAY
        return Fault.NOT_MIGRATED if _NOT_MIGRATED.match(str(error)) else Fault.REFUSED

    def make_engine(self, connect: Callable[[], Any]) -> Engine:
        """SQLAlchemy over our connections."""
        return engine_over("sqlite://", connect)

    def checkpoint(self) -> bool:
        """Copy the write-ahead log into the file, beside a writer.

        A long log is copied to its end, so that the next writer begins it anew: it waits for the
        last few pages. The connection is not the pool's: otherwise writers would change
        connections and lose the pages in their caches.

        Returns:
            Whether the log has changed since the last call, so that more will soon follow.

        Raises:
            DatabaseError: the checkpoint failed; nothing is lost.
        """
        with self._checkpoint_lock:
            try:
                if self._checkpointer is None:
                    self._checkpointer = sqlite3.connect(
                        f"{self.path.absolute().as_uri()}?mode=rw",
                        uri=True,
                        timeout=END_OF_LOG_SECONDS,
                        check_same_thread=False,
                    )
                copied = _copy_log(self._checkpointer)
            except sqlite3.Error as error:
                self._close_checkpointer()
                detail = f"SQLite's log cannot be copied into the file: {error}"
                raise DatabaseError(detail) from error
        before, self._pages_copied = self._pages_copied, copied
        return bool(copied != before)

    def close(self) -> None:
        """Close the connection for checkpoints."""
        with self._checkpoint_lock:
            self._close_checkpointer()

    def _close_checkpointer(self) -> None:
        if self._checkpointer is not None:
            self._checkpointer.close()
            self._checkpointer = None


class SqliteSession:
    """One connection to SQLite; see ``Session``."""

    pooled = False
    broken = False

    def __init__(self, raw: sqlite3.Connection) -> None:
        self.raw = raw
        self._busy_timeout_ms = BUSY_TIMEOUT_MS

    def run(self, text: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """One statement as SQLite gets it; every one of the session comes by here."""
        return self.raw.execute(text, values)

    def begin(self, *, write: bool) -> None:
        """Begin; a writer waits for its turn here and nowhere later."""
        if not write:
            self._wait_at_most(BUSY_TIMEOUT_MS)
            self.run("BEGIN")
            return
        # IMMEDIATE: a transaction that reads first and writes later could fail at its first write.
        self._wait_at_most(0)
        until = 0.0
        while True:
            try:
                self.run("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                busy = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
                until = until or monotonic() + BUSY_TIMEOUT_MS / 1000
                if not busy or monotonic() > until:
                    raise
            sleep(LOCK_POLL_SECONDS)

    def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Any]:
        """The rows of one statement."""
        text = statement.sqlite
        if statement.lists:
            *others, several = values
            text, values = _listing(text, len(several)), (*others, *several)
        found = self.run(text, values).fetchall()
        rows: list[Any] = convert((found,), statement.returns).rows if found else found
        return rows

    def ask(self, statement: Statement, values: Sequence[Any]) -> Rows:
        """Ask when the answer is called for."""
        return partial(self.fetch, statement, values)

    def send(self, statement: Statement, values: Sequence[Any]) -> None:
        """Run it at once."""
        text = statement.sqlite
        if statement.lists:
            *others, several = values
            text, values = _listing(text, len(several)), (*others, *several)
        self.run(text, values)

    def insert(self, insert: Insert, rows: Sequence[Sequence[Any]], tail: str) -> None:
        """Insert by one statement, in which every value is a parameter.

        ``executemany`` gives up Python's interpreter lock for every row. Under load it takes long
        to get it back. A column without any value is left out: sqlite3 looks for an adapter of
        each None, which takes longer than to bind ten texts.
        """
        step = MAX_PARAMETERS // len(insert.columns)
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            columns = zip(insert.columns, zip(*chunk, strict=True), strict=True)
            filled = {
                name: values
                for name, values in columns
                if values[0] is not None or values.count(None) < len(values)
            }
            text = _insertion(insert.table, tuple(filled), len(chunk), tail)
            self.run(text, tuple(chain.from_iterable(zip(*filled.values(), strict=True))))

    def direct(self) -> None:
        """Nothing is ever outstanding."""

    def commit(self) -> None:
        """Commit."""
        self.run("COMMIT")

    def rollback(self) -> None:
        """Roll back, unless SQLite has done so itself."""
        if self.raw.in_transaction:
            self.run("ROLLBACK")

    def interrupt(self) -> None:
        """Stop what runs."""
        self.raw.interrupt()

    def close(self) -> None:
        """Close the connection."""
        with suppress(sqlite3.Error):
            self.raw.close()

    def _wait_at_most(self, milliseconds: int) -> None:
        if self._busy_timeout_ms != milliseconds:
            self.run(f"PRAGMA busy_timeout={milliseconds}")
            self._busy_timeout_ms = milliseconds


def _copy_log(connection: sqlite3.Connection) -> int:
    """Copy what of the log nobody uses; how many pages of it are copied."""

    def copy(mode: str) -> int:
        copied: int = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[2]
        return copied

    copied = copy("PASSIVE")
    if copied < LONG_LOG_PAGES:
        return copied
    for _ in range(CATCHING_UP):
        before, copied = copied, copy("PASSIVE")
        if copied - before < FEW_PAGES:
            break
    return copy("RESTART")


@lru_cache(maxsize=CACHED_STATEMENTS)
def _insertion(table: str, columns: tuple[str, ...], count: int, tail: str) -> str:
    """The text for so many rows."""
    names = ", ".join(f'"{name}"' for name in columns)
    rows = ", ".join([f"({', '.join('?' * len(columns))})"] * count)
    return f"INSERT INTO {table} ({names}) VALUES {rows}{tail}"  # noqa: S608 - names of our own


@lru_cache(maxsize=CACHED_STATEMENTS)
def _listing(text: str, count: int) -> str:
    return text.replace(_LIST, f"({', '.join('?' * count)})")
