"""Readiness: whether an event could be stored now, asked of every table that one touches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sqlalchemy import inspect, text

from tests.store.grants import ROLE, least_privileged, run
from tests.store.store_support import counts, execute, executed
from usher.core.app import App
from usher.core.errors import DatabaseError, NotMigratedError
from usher.core.store.database import Database
from usher.core.store.readiness import check

TOUCHED = (
    "users", "grants", "deliveries", "audit", "pushes", "requests", "codes", "code_uses", "tallies",
    "counters", "instances",
)  # fmt: skip
UNCHANGED = ("grants", "pushes", "code_uses")
"""Rows that come and go, and never change."""


@dataclass(frozen=True)
class Limited:
    """PostgreSQL as a role sees it that has no more rights than it needs."""

    database: Database
    owner: str

    def run(self, statement: str) -> None:
        """A statement of the owner."""
        run(self.owner, statement)


@pytest.fixture
def limited(postgresql_url: str) -> Iterator[Limited]:
    """With the rights of the documentation."""
    with least_privileged(postgresql_url) as url:
        found = Limited(Database(url), postgresql_url)
        check(found.database)
        yield found
        found.database.dispose()


def test_i2_readiness_writes_to_every_table_of_an_event_and_leaves_nothing(usher: App) -> None:
    """However often it is asked."""
    before = counts(usher.store.database)
    with executed(usher.store.database) as statements:
        for _ in range(2):
            usher.store.check()
    written = {one.text.split()[2] for one in statements if one.text.startswith("INSERT")}
    assert {name.strip('"') for name in written} == set(TOUCHED)
    assert counts(usher.store.database) == before
    usher.store.check()


@pytest.mark.parametrize("table", TOUCHED)
def test_i2_readiness_notices_a_column_that_is_missing(usher: App, table: str) -> None:
    """Of any table that an event touches."""
    database = usher.store.database
    with database.read() as transaction:
        columns = inspect(transaction.sql).get_columns(table)
        free = [one["name"] for one in columns if not one.get("primary_key")]
    indexed = _indexed(usher, table)
    column = next((name for name in reversed(free) if name not in indexed), free[-1])
    with database.write() as transaction:
        transaction.sql.execute(text(f'ALTER TABLE {table} RENAME COLUMN "{column}" TO other'))
    try:
        with pytest.raises(NotMigratedError, match="usher db upgrade"):
            usher.store.check()
    finally:
        with database.write() as transaction:
            transaction.sql.execute(text(f'ALTER TABLE {table} RENAME COLUMN other TO "{column}"'))
    usher.store.check()


@pytest.mark.parametrize(
    ("right", "table"),
    [
        *(("INSERT", table) for table in TOUCHED),
        *(("SELECT", table) for table in TOUCHED),
        *(("UPDATE", table) for table in TOUCHED if table not in UNCHANGED),
        *(("DELETE", table) for table in ("deliveries", "grants", "pushes", "requests")),
    ],
)
def test_i2_readiness_notices_a_grant_that_is_missing(
    limited: Limited, right: str, table: str
) -> None:
    """It is refused as what it is, without advice to migrate."""
    limited.run(f"REVOKE {right} ON {table} FROM {ROLE}")
    with pytest.raises(DatabaseError, match=f"permission denied for table {table}") as found:
        check(limited.database)
    assert not isinstance(found.value, NotMigratedError)
    limited.run(f"GRANT {right} ON {table} TO {ROLE}")
    check(limited.database)


@pytest.mark.parametrize("table", TOUCHED)
def test_i2_readiness_notices_rows_that_are_hidden(limited: Limited, table: str) -> None:
    """Row level security that lets everything be written, and nothing be seen."""
    limited.run(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    limited.run(f"CREATE POLICY theirs ON {table} FOR INSERT WITH CHECK (true)")
    try:
        with pytest.raises(DatabaseError, match=f"{table} hides a row|row-level security"):
            check(limited.database)
    finally:
        limited.run(f"DROP POLICY theirs ON {table}")
        limited.run(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    check(limited.database)


@pytest.mark.parametrize("table", TOUCHED)
def test_i2_readiness_notices_rows_that_are_dropped(
    usher: App, database_url: str, table: str
) -> None:
    """A trigger that writes nothing, and says nothing."""
    if database_url.startswith("sqlite"):
        made = [f"CREATE TRIGGER theirs BEFORE INSERT ON {table} BEGIN SELECT RAISE(IGNORE); END"]
        mended = "DROP TRIGGER theirs"
    else:
        made = [
            "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            f"CREATE TRIGGER theirs BEFORE INSERT ON {table} FOR ROW EXECUTE FUNCTION theirs()",
        ]
        mended = "DROP FUNCTION theirs CASCADE"
    for statement in made:
        execute(usher.store.database, statement)
    try:
        with pytest.raises(DatabaseError, match=f"{table} hides a row"):
            usher.store.check()
    finally:
        execute(usher.store.database, mended)
    usher.store.check()


def _indexed(usher: App, table: str) -> set[str | None]:
    with usher.store.database.read() as transaction:
        found = inspect(transaction.sql).get_indexes(table)
    return {name for index in found for name in index["column_names"]}
