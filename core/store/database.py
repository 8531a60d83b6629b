"""One database: its connections, their transactions, and what their errors mean for us.

Nothing here knows the tables, nor any kind of database: a driver does
(``usher.core.store.drivers``). SQLAlchemy is loaded by the first use of ``Transaction.sql``, which
no event makes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from usher.core.errors import (
    ConflictError,
    DatabaseAwayError,
    UsherError,
)
from usher.core.store.drivers import Driver, Rows, Session, driver_of
from usher.core.store.pool import Pool, PooledConnection
from usher.core.store.refusals import refusal

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from usher.core.store.drivers.statement import Insert, Statement

CONFLICT_ATTEMPTS: Final = 3

Result = TypeVar("Result")


class Database:
    """One database, by its URL; connects on first use.

    Raises:
        ExtraMissingError: its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.driver = driver_of(url)
        self.is_sqlite = self.driver.name == "sqlite"
        self._pool = Pool(self.driver)

    @property
    def sqlite_path(self) -> Path | None:
        """The file of a SQLite database; None for PostgreSQL."""
        path: Path | None = getattr(self.driver, "path", None)
        return path

    def write(self) -> Transaction:
        """A transaction: committed at the end, rolled back by any exception.

        Raises:
            ConflictError: another writer was first.
            DatabaseAwayError: the database cannot be written to now.
            NotMigratedError: a table is missing.
            DatabaseError: any other error.
        """
        return Transaction(self._pool, write=True)

    def read(self) -> Transaction:
        """A transaction that only reads: one consistent view, without waiting for a writer.

        Raises:
            DatabaseError: the database cannot be used.
        """
        return Transaction(self._pool, write=False)

    def interrupt(self, seconds: float) -> None:
        """End the transactions that have taken longer than ``seconds``, from another thread.

        They fail with DatabaseAwayError. A COMMIT that a hung server was already sent may still
        take effect; a retry of the delivery is then known by its id.
        """
        limit = monotonic() - seconds
        ours = [] if self._pool.is_parents else list(self._pool.under_way.items())
        for transaction in [one for one, at in ours if at <= limit]:
            with suppress(Exception):  # the transaction has just ended by itself
                transaction.interrupt()

    def pooled(self) -> bool:
        """Whether a pooler such as PgBouncer stands before PostgreSQL.

        Raises:
            DatabaseError: the database cannot be used.
        """
        with self.read() as transaction:
            return transaction.pooled

    def checkpoint_wal(self) -> bool:
        """Copy SQLite's write-ahead log into the file; see ``SqliteDriver.checkpoint``.

        Raises:
            DatabaseError: the checkpoint failed; nothing is lost.
        """
        checkpoint: Callable[[], bool] = getattr(self.driver, "checkpoint")  # noqa: B009 - SQLite's
        return checkpoint()

    def load(self) -> None:
        """Import what ``Transaction.sql`` needs; no connection is opened."""
        self._pool.engine()

    def dispose(self) -> None:
        """Close every connection."""
        self._pool.empty()
        self.driver.close()


class Transaction:
    """One transaction, as a context manager: what is done in it takes effect at its end."""

    __slots__ = ("_connection", "_over", "_pool", "_session", "_write")

    def __init__(self, pool: Pool, *, write: bool) -> None:
        self._pool = pool
        self._write = write
        self._over = False

    @property
    def pooled(self) -> bool:
        """Whether a pooler stands before the database."""
        return self._session.pooled

    def fetch(self, statement: Statement, *values: Any) -> list[Any]:
        """The rows of a statement, as tuples; see ``drivers.Session`` for the values."""
        return self._session.fetch(statement, values)

    def ask(self, statement: Statement, *values: Any) -> Rows:
        """Ask now, and take the rows later, by calling what this gives; see ``Session.ask``."""
        return self._session.ask(statement, values)

    def send(self, statement: Statement, *values: Any) -> None:
        """Run a statement; its failure may only be told later, at the commit at the latest."""
        self._session.send(statement, values)

    def insert(self, insert: Insert, rows: Sequence[Sequence[Any]], tail: str = "") -> None:
        """Insert rows in their order; as ``send``.

        Args:
            tail: ``insert.changing`` or ``insert.adding``, for rows that are there already.
        """
        if rows:
            self._session.insert(insert, rows, tail)

    @property
    def sql(self) -> Connection:
        """This transaction for SQLAlchemy; it neither commits nor rolls back."""
        self._session.direct()
        return self._connection.sql()

    def rollback(self) -> None:
        """Undo everything; the transaction is over."""
        self._session.rollback()
        self._over = True

    def interrupt(self) -> None:
        """Make what runs now fail soon; called from another thread."""
        self._session.interrupt()

    def __enter__(self) -> Self:
        connection = None
        try:
            self._connection = connection = self._pool.take()
            self._session = connection.session
            self._pool.under_way[self] = monotonic()
            self._session.begin(write=self._write)
            return self
        except BaseException as error:
            self._fail(connection, error)
            raise

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            self._fail(self._connection, error)
            return
        try:
            if not self._over:
                self._session.commit()
        except BaseException as failure:
            self._fail(self._connection, failure)
            raise
        self._pool.under_way.pop(self, None)
        self._pool.give(self._connection)

    def _fail(self, connection: PooledConnection | None, error: BaseException) -> None:
        """Roll back, and raise an error of the database as ours, without statements or values."""
        self._pool.under_way.pop(self, None)
        ours = _ours(error, self._pool.driver, connection.session if connection else None)
        if isinstance(ours, DatabaseAwayError):
            # Other connections may stay read-only, or open on a file that is gone.
            self._pool.empty()
        if connection is not None:
            self._pool.undo(connection, error)
        if ours is not None:
            raise ours from error


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


def _ours(error: BaseException, driver: Driver, session: Session | None) -> UsherError | None:
    """Our error for one of the database or of SQLAlchemy; None: it is another one."""
    of_sqlalchemy = _is_of_sqlalchemy(error)
    cause = getattr(error, "orig", None) or error if of_sqlalchemy else error
    fault = driver.fault(cause)
    if fault is None and not of_sqlalchemy:
        return None
    return refusal(fault, cause, lost=session is not None and session.broken)


def _is_of_sqlalchemy(error: BaseException) -> bool:
    loaded = sys.modules.get("sqlalchemy.exc")
    return loaded is not None and isinstance(error, loaded.SQLAlchemyError)
