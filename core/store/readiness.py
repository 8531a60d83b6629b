"""Whether an event could be stored now: a row into each table that one touches, rolled back.

A read-only replica, a full disk, a missing grant and a column of another version differ in what
they refuse. This asks for all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Table

from usher.core.store.database import Database
from usher.core.store.statements import (
    ADOPTED,
    INTO_AUDIT,
    INTO_COUNTERS,
    INTO_DELIVERIES,
    INTO_GRANTS,
    INTO_PUSHES,
    INTO_USERS,
)
from usher.core.store.tables import (
    AUDIT,
    COUNTERS,
    DELIVERIES,
    GRANTS,
    PUSHES,
    USERS,
    UtcDateTime,
)
from usher.core.store.values import time_text

_INSERTS: Final = (
    (DELIVERIES, INTO_DELIVERIES),
    (USERS, INTO_USERS),
    (GRANTS, INTO_GRANTS),
    (PUSHES, INTO_PUSHES),
    (AUDIT, INTO_AUDIT),
    (COUNTERS, INTO_COUNTERS),
)
_LONG_AGO: Final = time_text(datetime(1970, 1, 1, tzinfo=UTC))
_VALUES: Final[Mapping[type, Callable[[], Any]]] = {
    UUID: lambda: uuid4().hex,
    str: lambda: uuid4().hex[:8],
    int: int,
    bool: int,
    object: lambda: "{}",  # a JSON column
}


def check(database: Database) -> None:
    """Try to write what an event writes; nothing of it stays.

    Raises:
        DatabaseAwayError: the database is away, locked or read-only.
        NotMigratedError: a table or a column is missing.
        DatabaseError: the database refuses something else, such as a grant that is missing.
    """
    with database.write() as transaction:
        for table, insert in _INSERTS:
            transaction.insert(insert, [_row(table)])
        transaction.fetch(ADOPTED)  # and awaits the answers to the rows
        transaction.rollback()


def _row(table: Table) -> tuple[Any, ...]:
    """A row with keys that no other has, so that no process waits for another."""
    columns = (column for column in table.columns if column.autoincrement is not True)
    return tuple(None if column.nullable else _value(column.type) for column in columns)


def _value(kind: Any) -> Any:
    return _LONG_AGO if isinstance(kind, UtcDateTime) else _VALUES[kind.python_type]()
