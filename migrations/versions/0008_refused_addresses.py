"""Deliveries in which the policy refused somebody are found by the address."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ORDERED_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("address_key", ORDERED_TEXT, nullable=True))
    refused = sa.text("address_key IS NOT NULL")  # other events cost the index nothing
    op.create_index(
        "deliveries_address",
        "deliveries",
        ["instance_id", "address_key", "received_at", "sequence"],
        sqlite_where=refused,
        postgresql_where=refused,
    )
