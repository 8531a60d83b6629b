"""Bulk inserts: many rows into one table by one statement, in the form each database takes best."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Dialect, Table

MAX_PARAMETERS: Final = 32_000
"""Parameters in one statement; SQLite takes 32,766 (since 3.32)."""
MAX_ROWS: Final = 1_000
"""Rows in one document for PostgreSQL."""

Rows = Sequence[Mapping[str, Any]]
_Statement = Callable[[Connection, Rows], None]


class BulkInsert:
    """An INSERT of many rows into one table, prepared once and kept.

    Args:
        upsert: change a row that has the same primary key, instead of failing.
        adding: with ``upsert``, a column to whose old value the new one is added.
        conflict: in place of ``upsert``, the SQL after ON CONFLICT.
    """

    def __init__(
        self, table: Table, *, upsert: bool = False, adding: str = "", conflict: str = ""
    ) -> None:
        self._table = table
        self._adding = adding
        self._upsert = upsert
        self._conflict = conflict
        self._columns = [c for c in table.columns if c.autoincrement is not True]
        self._ready: dict[tuple[str, frozenset[str] | None], _Statement] = {}

    def execute(
        self, connection: Connection, rows: Rows, changing: Collection[str] | None = None
    ) -> None:
        """Insert rows in their order.

        Args:
            rows: each a mapping with a value for every column.
            changing: with ``upsert``, the columns that differ in any row that is there already;
                None: all. The statement names only these, since each index on a named column gets
                a new entry.
        """
        if not rows:
            return
        key = connection.dialect.name, None if changing is None else frozenset(changing)
        if key not in self._ready:
            self._ready[key] = self._prepare(connection.dialect, changing)
        self._ready[key](connection, rows)

    def _prepare(self, dialect: Dialect, changing: Collection[str] | None) -> _Statement:
        quote = dialect.identifier_preparer.quote
        table, names = quote(self._table.name), [quote(column.name) for column in self._columns]
        tail = f" ON CONFLICT {self._conflict}" if self._conflict else ""
        if self._upsert:
            key = ", ".join(quote(column.name) for column in self._table.primary_key)
            if self._adding:
                one = quote(self._adding)
                changes = f"{one} = {table}.{one} + excluded.{one}"
            else:
                changed = names if changing is None else [quote(name) for name in sorted(changing)]
                changes = ", ".join(f"{name} = excluded.{name}" for name in changed)
            tail = f" ON CONFLICT ({key}) DO UPDATE SET {changes}"
        # The names are those of our own models, quoted; every value is a parameter.
        chosen = ", ".join(names)
        head = f"INSERT INTO {table} ({chosen}) "
        if dialect.name == "postgresql":
            rows = f"json_populate_recordset(NULL::{table}, %s)"
            return self._by_document(f"{head}SELECT {chosen} FROM {rows}{tail}")  # noqa: S608
        return self._by_values(dialect, head, tail)

    @staticmethod
    def _by_document(statement: str) -> _Statement:
        """PostgreSQL: all rows are one parameter, a JSON document.

        The statement stays the same, so it is prepared once. psycopg parses a statement with
        hundreds of parameters anew each time; with those, an event took a third longer.
        """

        def execute(connection: Connection, rows: Rows) -> None:
            for start in range(0, len(rows), MAX_ROWS):
                document = _ENCODER.encode(rows[start : start + MAX_ROWS])
                connection.exec_driver_sql(statement, (document,))

        return execute

    def _by_values(self, dialect: Dialect, head: str, tail: str) -> _Statement:
        """SQLite: every value is a parameter of one statement.

        ``executemany`` gives up Python's interpreter lock for every row. Under load it takes long
        to get it back.
        """
        values_of = itemgetter(*(column.name for column in self._columns))
        every = (c.type.dialect_impl(dialect).bind_processor(dialect) for c in self._columns)
        processors = [(place, process) for place, process in enumerate(every) if process]
        one_row = f"({', '.join('?' * len(self._columns))})"
        step = MAX_PARAMETERS // len(self._columns)

        def execute(connection: Connection, rows: Rows) -> None:
            for start in range(0, len(rows), step):
                chunk = rows[start : start + step]
                values: list[Any] = []
                for row in chunk:
                    one = list(values_of(row))
                    for place, process in processors:
                        one[place] = process(one[place])
                    values += one
                statement = f"{head}VALUES {', '.join([one_row] * len(chunk))}{tail}"
                connection.exec_driver_sql(statement, tuple(values))

        return execute


def _as_text(value: Any) -> str:
    """UUIDs, bytes and times as PostgreSQL reads them; JSON has no form for them."""
    if isinstance(value, UUID):
        return str(value)
    return "\\x" + value.hex() if isinstance(value, bytes) else value.isoformat()


_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, default=_as_text
)
