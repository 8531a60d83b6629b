"""The drivers: one file for each kind of database, behind one interface.

A ``Driver`` knows how to connect and what an error means. A ``Session`` is one connection: it
begins and ends transactions and runs compiled statements (``usher.core.store.statements``).
Everything else of the store is the same for every database.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from usher.core.database_url import PG8000
from usher.core.errors import ExtraMissingError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from usher.core.store.drivers.statement import Insert, Statement

__all__ = ["Driver", "Fault", "Rows", "Session", "driver_of"]


class Fault(Enum):
    """The meaning of an error of the database."""

    AWAY = "away"
    """It cannot be used now; another delivery would fare the same."""
    LOST = "lost"
    """Away, and it was this connection: a new one may work at once."""
    CONFLICT = "conflict"
    """Another transaction was first; the same work may succeed now."""
    DUPLICATE = "duplicate"
    """A unique key is taken: by another transaction, or by a constraint that is not ours."""
    NOT_MIGRATED = "not migrated"
    """A table or a column is missing."""
    NOT_STORABLE = "not storable"
    """The fault of the values: one that does not fit, a constraint, a limit of the program."""
    REFUSED = "refused"
    """Any other refusal, of this statement or of all."""


Rows = Callable[[], list[Any]]
"""An answer to come: gives the rows of a statement when it is called."""


class Session(Protocol):
    """One connection, used by one thread at a time.

    Values are texts, integers, bytes and None: ids as 32 hex digits, times as ISO 8601 in UTC,
    documents as JSON, truth as 0 or 1 (``usher.core.store.values``).

    Attributes:
        raw: the connection of the DB-API, for SQLAlchemy.
        pooled: a pooler stands between us and the database.
    """

    raw: Any
    pooled: bool

    @property
    def broken(self) -> bool:
        """Whether the connection is gone, so that another may work at once."""

    def begin(self, *, write: bool) -> None:
        """Begin a transaction; one that writes may wait for another."""

    def fetch(self, statement: Statement, values: Sequence[Any]) -> list[Any]:
        """The rows of a statement, as tuples of the types that it names."""

    def ask(self, statement: Statement, values: Sequence[Any]) -> Rows:
        """Ask now, and take the answer when it is called for.

        Questions that are asked one after the other share a round trip, where there are any; where
        there are none, a question whose answer nobody calls for costs nothing.
        """

    def send(self, statement: Statement, values: Sequence[Any]) -> None:
        """Run a statement whose rows do not matter; its failure may only be told later."""

    def insert(self, insert: Insert, rows: Sequence[Sequence[Any]], tail: str) -> None:
        """Insert rows, each in the order of the columns; as ``send``.

        Args:
            tail: what follows the rows: an ON CONFLICT clause, or nothing.
        """

    def direct(self) -> None:
        """Await what was sent, and await everything from now on until the transaction ends.

        After this, ``raw`` may be used.
        """

    def commit(self) -> None:
        """Commit; returns when it is durable."""

    def rollback(self) -> None:
        """Roll back."""

    def interrupt(self) -> None:
        """Make what runs now fail soon; called from another thread."""

    def close(self) -> None:
        """Close the connection; never fails."""


class Driver(Protocol):
    """One kind of database.

    Attributes:
        name: ``sqlite`` or ``postgresql``.
        recycle_seconds: age at which a connection is replaced; 0: never.
        rest_seconds: how long a connection may have been at rest, by the wall clock; None: however
            long. One of a process that is frozen between requests may have died in silence.
    """

    name: str
    recycle_seconds: int
    rest_seconds: float | None

    def connect(self) -> Session:
        """A new connection."""

    def fault(self, error: BaseException) -> Fault | None:
        """The meaning of an error; None: it is not one of this database."""

    def make_engine(self, connect: Any) -> Engine:
        """An engine of SQLAlchemy over connections that ``connect`` gives.

        It never begins, commits, rolls back or closes anything: the session does.
        """

    def close(self) -> None:
        """Close what is open beside the sessions."""


def driver_of(url: str) -> Driver:
    """The driver for a URL.

    Raises:
        ExtraMissingError: it is not installed.
    """
    if url.startswith("sqlite"):
        from usher.core.store.drivers.sqlite import SqliteDriver  # noqa: PLC0415

        return SqliteDriver(url)
    if url.startswith(PG8000):
        try:
            import pg8000  # noqa: F401, PLC0415 - one of three

            from usher.core.store.drivers.pg8000 import Pg8000Driver  # noqa: PLC0415
        except ImportError as error:
            raise ExtraMissingError("The driver pg8000 is", "netlify") from error
        return Pg8000Driver(url)
    try:
        import psycopg  # noqa: F401, PLC0415 - one of three

        from usher.core.store.drivers.postgresql import PostgresqlDriver  # noqa: PLC0415
    except ImportError as error:
        raise ExtraMissingError("The driver for PostgreSQL is", "postgres") from error
    return PostgresqlDriver(url)
