"""Readiness: whether an event could be stored now, asked of every table that one touches."""

from __future__ import annotations

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.engine import make_url

from tests.store.store_support import counts, executed
from usher.core.app import App
from usher.core.errors import DatabaseError, NotMigratedError
from usher.core.store.database import Database
from usher.core.store.readiness import check

ROLE = "usher_limited"
TOUCHED = ("users", "grants", "deliveries", "audit", "pushes", "counters")


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
    column = next(name for name in reversed(free) if name not in _indexed(usher, table))
    with database.write() as transaction:
        transaction.sql.execute(text(f'ALTER TABLE {table} RENAME COLUMN "{column}" TO other'))
    try:
        with pytest.raises(NotMigratedError, match="usher db upgrade"):
            usher.store.check()
    finally:
        with database.write() as transaction:
            transaction.sql.execute(text(f'ALTER TABLE {table} RENAME COLUMN other TO "{column}"'))
    usher.store.check()


@pytest.mark.parametrize("table", TOUCHED)
def test_i2_readiness_notices_a_grant_that_is_missing(postgresql_url: str, table: str) -> None:
    """It is refused as what it is, without advice to migrate."""
    owner = Database(postgresql_url)
    limited = Database(
        make_url(postgresql_url).set(username=ROLE).render_as_string(hide_password=False)
    )
    try:
        with owner.write() as transaction:
            transaction.sql.execute(text(f"CREATE ROLE {ROLE} LOGIN"))
            transaction.sql.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}"))
            transaction.sql.execute(text(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE}"))
        check(limited)
        with owner.write() as transaction:
            transaction.sql.execute(text(f"REVOKE INSERT ON {table} FROM {ROLE}"))
        with pytest.raises(DatabaseError, match=f"permission denied for table {table}") as found:
            check(limited)
        assert not isinstance(found.value, NotMigratedError)
    finally:
        limited.dispose()
        with owner.write() as transaction:
            transaction.sql.execute(text(f"DROP OWNED BY {ROLE}"))
            transaction.sql.execute(text(f"DROP ROLE {ROLE}"))
        owner.dispose()


def _indexed(usher: App, table: str) -> set[str | None]:
    with usher.store.database.read() as transaction:
        found = inspect(transaction.sql).get_indexes(table)
    return {name for index in found for name in index["column_names"]}
