"""Indexes of tables that have rows: on PostgreSQL they are built while events come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Run = Callable[[str], Any]
"""Runs a statement outside of any transaction; returns its rows."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index as a migration leaves it.

    Attributes:
        columns: as in SQL.
        where: of a partial index.
    """

    name: str
    table: str
    columns: str
    where: str = ""

    def build_in_place(self, run: Run) -> None:
        """Replace the index of this name, if there is one, in the transaction of ``run``."""
        run(f"DROP INDEX IF EXISTS {self.name}")
        run(self._create("CREATE INDEX", self.name))

    def build_beside_events(self, run: Run) -> None:
        """Replace the index of this name, if there is one, which serves until then.

        The new one has another name until it is whole. A build that was interrupted leaves a
        broken index, which takes no part in queries; it is removed and built again.
        """
        if self._is(self.name, run):
            run(f"DROP INDEX CONCURRENTLY IF EXISTS {self._fresh}")
            return
        if not self._is(self._fresh, run):
            run(f"DROP INDEX CONCURRENTLY IF EXISTS {self._fresh}")
            run(self._create("CREATE INDEX CONCURRENTLY", self._fresh))
        run(f"DROP INDEX CONCURRENTLY IF EXISTS {self.name}")
        run(f"ALTER INDEX {self._fresh} RENAME TO {self.name}")

    @property
    def _fresh(self) -> str:
        return f"{self.name}_new"

    def _create(self, create: str, name: str) -> str:
        where = f" WHERE {self.where}" if self.where else ""
        return f"{create} {name} ON {self.table} ({self.columns}){where}"

    def _is(self, name: str, run: Run) -> bool:
        """Whether the index of this name is whole, and the one that is meant."""
        found = run(
            "SELECT pg_get_indexdef(indexrelid) FROM pg_index "  # noqa: S608 - our own names
            f"WHERE indexrelid = to_regclass('{name}') AND indisvalid"
        )
        if not found:
            return False
        columns, _, where = str(found[0][0]).partition(" USING btree (")[2].partition(")")
        return columns == self.columns and bool(where) == bool(self.where)
