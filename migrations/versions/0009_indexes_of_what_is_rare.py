"""Users are indexed by status and provider only where these are rare; a ledger is vacuumed early.

A signup by e-mail has no entry in either index, and no login renews one. On PostgreSQL the
defaults wait until a fifth of a table is dead, which in a ledger are millions of rows.
"""

from __future__ import annotations

from dataclasses import replace

import sqlalchemy as sa
from alembic import op

from usher.migrations.indexes import Index

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INDEXES = (
    Index("users_status", "users", "instance_id, status, created_at, id", "status <> 'active'"),
    Index(
        "users_provider", "users", "instance_id, provider, created_at, id", "provider <> 'email'"
    ),
)
LOGS = sa.text(
    "SELECT relname FROM pg_class WHERE relname IN ('deliveries', 'audit') AND relkind = 'r'"
    " AND relnamespace = current_schema()::regnamespace ORDER BY relname"
)
"""Without those that were partitioned by hand: only partitions take such settings."""
EARLY = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.05",
}


def upgrade() -> None:
    settings = ", ".join(f"{name} = {value}" for name, value in EARLY.items())
    for table in logs():
        op.execute(f"ALTER TABLE {table} SET ({settings})")


def downgrade() -> None:
    for table in logs():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(EARLY)})")
    for index in INDEXES:
        replace(index, where="").build_in_place(op.get_bind().exec_driver_sql)


def logs() -> list[str]:
    """The tables that are vacuumed early; on SQLite none."""
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        return []
    return list(connection.execute(LOGS).scalars())
