"""The migrations between two revisions: what each does, and about how long it will take."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from alembic.script import ScriptDirectory
from sqlalchemy import text

from usher import migrations
from usher.migrations.indexes import Index

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from usher.core.store.database import Database

INDEXED_A_SECOND: Final = 150_000
"""Rows that go into an index in a second, beside events, on a machine of two cores."""
READ_A_SECOND: Final = 20_000
"""Rows that Python reads and compares in a second."""
BYTES_A_ROW: Final = 400
"""Of a table that PostgreSQL has not counted yet."""
_COUNTED: Final = text(
    "SELECT reltuples::bigint, pg_relation_size(oid) FROM pg_class WHERE oid = to_regclass(:table)"
)


@dataclass(frozen=True, slots=True)
class Planned:
    """One migration that is still to be run.

    Attributes:
        summary: a sentence.
        rows: about how many rows it goes through, by table.
        seconds: about how long that will take.
    """

    revision: str
    summary: str
    rows: dict[str, int]
    seconds: float


def scripts() -> ScriptDirectory:
    """Alembic's view of the folder."""
    return ScriptDirectory(str(migrations.FOLDER))


def modules(found: ScriptDirectory, since: str | None, to: str) -> list[tuple[str, ModuleType]]:
    """The migrations after one revision up to another, in order."""
    steps = [
        each for each in found.walk_revisions("base", to) if since is None or each.revision > since
    ]
    return [(each.revision, each.module) for each in reversed(steps)]


def indexes(module: ModuleType) -> tuple[Index, ...]:
    """The indexes that a migration builds on tables that have rows."""
    found: tuple[Index, ...] = getattr(module, "INDEXES", ())
    return found


def planned(database: Database, to: str) -> list[Planned]:
    """The migrations that are still to be run."""
    since = migrations.revision(database)
    with database.read() as transaction:
        connection = transaction.sql
        return [
            _planned(revision, module, connection, new=since is None)
            for revision, module in modules(scripts(), since, to)
        ]


def _planned(revision: str, module: ModuleType, connection: Connection, *, new: bool) -> Planned:
    rows: dict[str, int] = {}
    seconds = 0.0

    def through(table: str, rate: int) -> None:
        nonlocal seconds
        if table not in rows:
            rows[table] = 0 if new else _rows(connection, table)
        seconds += rows[table] / rate

    for index in indexes(module):
        through(index.table, INDEXED_A_SECOND)
    if table := getattr(module, "READS", ""):
        through(table, READ_A_SECOND)
    return Planned(revision, (module.__doc__ or "").partition("\n")[0], rows, round(seconds, 1))


def _rows(connection: Any, table: str) -> int:
    """About how many; counted where that is quick."""
    if connection.dialect.name == "sqlite":
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608
    found = connection.execute(_COUNTED, {"table": table}).first()
    if found is None:
        return 0
    counted, size = found
    return int(counted if counted >= 0 else size // BYTES_A_ROW)
