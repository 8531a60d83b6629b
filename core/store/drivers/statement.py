"""Statements, each with its text for every kind of database; compiled ahead of time."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from msgspec import Struct, defstruct


class Statement(Struct, frozen=True):
    """A statement with parameters.

    Attributes:
        sqlite: its text for SQLite; a list's parameters stand as ``(?...)``.
        postgresql: its text for PostgreSQL; a list is one array.
        lists: its last parameter is a list.
        returns: the shape of its rows, made by ``rows_of``; None: it has none.
    """

    sqlite: str
    postgresql: str
    lists: bool = False
    returns: Any = None


class Insert(Struct, frozen=True, eq=False):
    """An INSERT of many rows into one table; there is one object of each.

    Attributes:
        columns: in the order of each row's values.
        key: the columns of the primary key.
        postgresql: its text for PostgreSQL; the rows are one JSON document.
    """

    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    postgresql: str

    @lru_cache(maxsize=256)  # noqa: B019 - each Insert lives as long as the process
    def changing(self, columns: frozenset[str]) -> str:
        """The tail that changes a row that is there already.

        Only these columns are named: each index on a named column gets a new entry.
        """
        changes = ", ".join(f'"{name}" = excluded."{name}"' for name in sorted(columns))
        return f" ON CONFLICT ({self._key}) DO UPDATE SET {changes}"

    def adding(self, column: str) -> str:
        """The tail that adds the new value of a column to the old one."""
        old = f'"{self.table}"."{column}"'
        return f' ON CONFLICT ({self._key}) DO UPDATE SET "{column}" = {old} + excluded."{column}"'

    @property
    def _key(self) -> str:
        return ", ".join(f'"{name}"' for name in self.key)


@cache
def rows_of(*types: Any) -> Any:
    """A shape of rows, one for all statements that have it.

    A class remembers how its values are converted; a plain type would not.
    """
    return defstruct("Rows", [("rows", list[tuple[types]])], array_like=True)  # type: ignore[valid-type]
