"""The schema of a database as it is, in a form that can be compared."""

from __future__ import annotations

from typing import Any

from sqlalchemy import inspect, text

from usher.core.store.database import Database

POSTGRESQL = {
    "columns": "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, "
    "collation_name, column_default FROM information_schema.columns WHERE table_schema = 'public' "
    "ORDER BY table_name, ordinal_position",
    "indexes": "SELECT c.relname, pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisunique, "
    "i.indisprimary FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE c.relnamespace = 'public'::regnamespace ORDER BY c.relname",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
    "FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n' "
    "ORDER BY 1, 2",
}


def schema(database: Database) -> dict[str, Any]:
    """Tables, columns, indexes and constraints."""
    with database.read() as transaction:
        connection = transaction.sql
        if not database.is_sqlite:
            return {
                name: [list(row) for row in connection.execute(text(statement))]
                for name, statement in POSTGRESQL.items()
            }
        tables = inspect(connection).get_table_names()
        indexes = connection.execute(
            text("SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name")
        ).all()
        return {
            "columns": {
                table: [
                    list(row) for row in connection.execute(text(f"PRAGMA table_xinfo({table})"))
                ]
                for table in tables
            },
            "rowid": connection.execute(
                text(
                    "SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%' ORDER BY name"
                )
            )
            .scalars()
            .all(),
            "indexes": [
                [
                    name,
                    table,
                    [list(row) for row in connection.execute(text(f"PRAGMA index_xinfo({name})"))],
                    (sql or "").partition(" WHERE ")[2],
                ]
                for name, table, sql in indexes
            ],
        }
