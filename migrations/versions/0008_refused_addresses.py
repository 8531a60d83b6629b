"""Deliveries in which the policy refused somebody are found by the address."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from usher.migrations.indexes import Index

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

ORDERED_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

INDEXES = (
    Index(
        "deliveries_address",
        "deliveries",
        "instance_id, address_key, received_at, sequence",
        "address_key IS NOT NULL",  # other events cost the index nothing
    ),
)


def upgrade() -> None:
    found = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("deliveries")}
    if "address_key" not in found:
        op.add_column("deliveries", sa.Column("address_key", ORDERED_TEXT, nullable=True))
