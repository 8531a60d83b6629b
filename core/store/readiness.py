"""Whether an event could be stored now: what one does to each table, done to a row, rolled back.

A read-only replica, a full disk, a missing grant, row level security and a column of another
version differ in what they refuse. This asks for all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, text, update

from usher.core.errors import DatabaseError
from usher.core.store.database import Database
from usher.core.store.tables import (
    CODE_USES,
    CODES,
    INSTANCES,
    TALLIES,
    AuditRow,
    CounterRow,
    DeliveryRow,
    GrantRow,
    PushRow,
    RequestRow,
    UserRow,
    UtcDateTime,
)

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_VALUES: Final[Mapping[type, Callable[[], Any]]] = {
    UUID: uuid4,
    str: lambda: uuid4().hex[:8],
    int: lambda: uuid4().int >> 97,  # of 31 bits
    bool: bool,
    object: dict,  # a JSON column
}


def check(database: Database) -> None:
    """Try what events do; nothing of it stays.

    Raises:
        DatabaseAwayError: the database is away, locked or read-only.
        NotMigratedError: a table or a column is missing.
        NotStorableError: a constraint that is not ours does not take these rows. It may take those
            of an event.
        DatabaseError: the database refuses something else, such as a grant that is missing.
    """
    with database.write() as transaction:
        connection = transaction.sql
        for trial in _TRIALS:
            trial.run(connection)
        if not database.is_sqlite:  # else a trigger that waits for the commit would not run
            connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        transaction.rollback()


class _Trial:
    """Insert a row into a table, find it, and do to it what events do besides.

    Args:
        fixed: values that a constraint asks for; any others do.
    """

    def __init__(
        self, row: Any, *, changes: bool = False, removes: bool = False, **fixed: Any
    ) -> None:
        table = row if isinstance(row, Table) else row.__table__
        self._table = table
        self._insert = insert(table)
        self._fixed = fixed
        self._names = [f"k_{key.name}" for key in table.primary_key]
        mine = [key == bindparam(f"k_{key.name}") for key in table.primary_key]
        column = list(table.columns)[-1]
        self._then: list[Any] = [select(column).where(*mine)]
        if changes:
            self._then.append(update(table).where(*mine).values({column: column}))
        if removes:
            self._then.append(delete(table).where(*mine))

    def run(self, connection: Connection) -> None:
        """Run it, with a key that no other row has, so that no process waits for another."""
        written = connection.execute(
            self._insert, _row(self._table) | self._fixed
        ).inserted_primary_key
        if not written:
            raise self._hides()
        values = dict(zip(self._names, written, strict=True))
        for statement in self._then:
            done = connection.execute(statement, values)
            if len(done.all() if done.returns_rows else range(done.rowcount)) != 1:
                raise self._hides()

    def _hides(self) -> DatabaseError:
        return DatabaseError(f"The table {self._table.name} hides a row that was written just now")


_TRIALS: Final = (
    _Trial(DeliveryRow, changes=True, removes=True),
    _Trial(UserRow, changes=True),
    _Trial(GrantRow, removes=True),
    _Trial(PushRow, removes=True),
    _Trial(RequestRow, changes=True, removes=True),
    _Trial(CODES, changes=True, used=0),
    _Trial(CODE_USES),
    _Trial(TALLIES, changes=True),
    _Trial(AuditRow, changes=True),
    _Trial(CounterRow, changes=True),
    _Trial(INSTANCES, changes=True),
)


def _row(table: Table) -> dict[str, Any]:
    return {
        column.name: None if column.nullable else _value(column.type)
        for column in table.columns
        if column.autoincrement is not True
    }


def _value(kind: Any) -> Any:
    return _LONG_AGO if isinstance(kind, UtcDateTime) else _VALUES[kind.python_type]()
