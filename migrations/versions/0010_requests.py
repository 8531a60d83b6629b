"""Requests of people: to be let in, or for a role."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("instance_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("role", sa.String(100)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("decided_at", TIME),
        sqlite_autoincrement=True,  # a number never names another person's request
        if_not_exists=True,
    )
    for name, columns in (
        ("requests_user", ["instance_id", "user_id", "id"]),
        ("requests_state", ["instance_id", "state", "id"]),
    ):
        op.create_index(name, "requests", columns, if_not_exists=True)


def downgrade() -> None:
    op.drop_table("requests")
