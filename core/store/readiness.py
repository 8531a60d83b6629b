"""Whether an event could be stored now: a row into each table that one touches, rolled back.

A read-only replica, a full disk, a missing grant and a column of another version differ in what
they refuse. This asks for all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Table, text

from usher.core.store.bulk_insert import BulkInsert
from usher.core.store.database import Database
from usher.core.store.tables import (
    AuditRow,
    CounterRow,
    DeliveryRow,
    GrantRow,
    PushRow,
    UserRow,
    UtcDateTime,
)

_TOUCHED: Final[tuple[Any, ...]] = (DeliveryRow, UserRow, GrantRow, PushRow, AuditRow, CounterRow)
_TABLES: Final[tuple[Table, ...]] = tuple(row.__table__ for row in _TOUCHED)
_INSERTS: Final = tuple((table, BulkInsert(table)) for table in _TABLES)
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
_VALUES: Final[Mapping[type, Callable[[], Any]]] = {
    UUID: uuid4,
    str: lambda: uuid4().hex[:8],
    int: int,
    bool: bool,
    object: dict,  # a JSON column
}


def check(database: Database) -> None:
    """Try to write what an event writes; nothing of it stays.

    Raises:
        DatabaseAwayError: the database is away, locked or read-only.
        NotMigratedError: a table or a column is missing.
        DatabaseError: the database refuses something else, such as a grant that is missing.
    """
    with database.write() as connection:
        for table, insert in _INSERTS:
            insert.execute(connection, [_row(table)])
        # Waits for the answers to the rows, which were sent without a wait for each.
        connection.execute(text("SELECT 1 FROM instances LIMIT 1"))
        connection.rollback()


def _row(table: Table) -> dict[str, Any]:
    """A row with keys that no other has, so that no process waits for another."""
    return {
        column.name: None if column.nullable else _value(column.type)
        for column in table.columns
        if column.autoincrement is not True
    }


def _value(kind: Any) -> Any:
    return _LONG_AGO if isinstance(kind, UtcDateTime) else _VALUES[kind.python_type]()
