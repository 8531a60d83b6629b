"""The engine and its transactions; nothing here knows what is stored.

SQLite: WAL, ``synchronous=FULL`` (a commit survives loss of power), one writer at a time, who takes
the write lock when the transaction begins. PostgreSQL: psycopg 3.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Dialect, Engine, Table, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from core.errors import ConflictError, DatabaseError, NotMigratedError
from core.strict_json import dumps

BUSY_TIMEOUT_MS: Final = 2_000
CONNECT_TIMEOUT_SECONDS: Final = 3
RECYCLE_SECONDS: Final = 300
"""An older connection to PostgreSQL is not used again: a frozen function's, or one that a network
cut for idleness (AWS does after 350 s), would fail somebody's login."""
CONFLICT_ATTEMPTS: Final = 3
MAX_PARAMETERS: Final = 32_000
"""In one statement; SQLite takes 32,766 (since 3.32), PostgreSQL 65,535."""
_DECODER: Final = json.JSONDecoder()
_READ_ONLY: Final = "usher_read_only"

Result = TypeVar("Result")
_Processor = tuple[int, Any]
"""A column by its place, and what turns its values into those of the driver."""
"""A column's name and what makes its value fit for the driver."""


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
            connection.execute(text("SELECT 1 FROM syncs LIMIT 1"))

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _sqlite(self) -> Engine:
        engine = create_engine(
            self.url,
            connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
            json_serializer=dumps,
            json_deserializer=_loads,
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
            pool_recycle=RECYCLE_SECONDS,
        )


class BulkInsert:
    """Rows into one table by a single statement, however many they are.

    SQLite's driver gives up Python's interpreter lock for every row of an ``executemany``, and
    under load it takes long to get it back each time; PostgreSQL saves the round trips.

    Args:
        upsert: replace a row that has the same primary key, instead of failing.
        adding: the name of a column whose new value is added to the old one by that.
    """

    def __init__(self, table: Table, *, upsert: bool = False, adding: str = "") -> None:
        self._table = table
        self._adding = adding
        self._upsert = upsert
        self._columns = [c for c in table.columns if c.autoincrement is not True]
        self._values_of = itemgetter(*(column.name for column in self._columns))
        self._ready: dict[str, tuple[str, str, str, list[_Processor]]] = {}

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert the rows in their order; each has a value for every column."""
        if not rows:
            return
        dialect = connection.dialect
        if dialect.name not in self._ready:
            self._ready[dialect.name] = self._prepare(dialect)
        head, one_row, tail, processors = self._ready[dialect.name]
        step = MAX_PARAMETERS // len(self._columns)
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            values: list[Any] = []
            for row in chunk:
                one = list(self._values_of(row))
                for place, process in processors:
                    one[place] = process(one[place])
                values += one
            statement = head + ", ".join([one_row] * len(chunk)) + tail
            connection.exec_driver_sql(statement, tuple(values))

    def _prepare(self, dialect: Dialect) -> tuple[str, str, str, list[_Processor]]:
        quote = dialect.identifier_preparer.quote
        names = [quote(column.name) for column in self._columns]
        every = (c.type.dialect_impl(dialect).bind_processor(dialect) for c in self._columns)
        processors = [(place, process) for place, process in enumerate(every) if process]
        mark = "%s" if dialect.paramstyle in ("format", "pyformat") else "?"
        tail = ""
        if self._upsert:
            key = ", ".join(quote(column.name) for column in self._table.primary_key)
            changes = ", ".join(f"{name} = excluded.{name}" for name in names)
            if self._adding:
                one = quote(self._adding)
                changes = f"{one} = {quote(self._table.name)}.{one} + excluded.{one}"
            tail = f" ON CONFLICT ({key}) DO UPDATE SET {changes}"
        # Names from our own models, quoted; every value is a parameter.
        head = f"INSERT INTO {quote(self._table.name)} ({', '.join(names)}) VALUES "  # noqa: S608
        return head, f"({', '.join([mark] * len(names))})", tail, processors


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
    """Errors of SQLAlchemy as ours: for people, without a statement or a value."""
    try:
        yield
    except SQLAlchemyError as error:
        message = str(getattr(error, "orig", None) or error).partition("\n")[0]
        deadlocked = getattr(getattr(error, "orig", None), "sqlstate", None) == "40P01"
        if isinstance(error, IntegrityError) or deadlocked:
            raise ConflictError(
                f"Another change came first ({type(getattr(error, 'orig', error)).__name__})."
            ) from error
        if "no such table" in message or "does not exist" in message:
            raise NotMigratedError(
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
