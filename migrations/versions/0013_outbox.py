"""The outbox: how far handlers and sinks have come with the audit, and what waits; sinks; keys."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ORDERED_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "outbox_consumers",
        sa.Column("name", ORDERED_TEXT, primary_key=True),
        sa.Column("shard", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("part", sa.SmallInteger, nullable=False),
        sa.Column("trying", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("lease", sa.Uuid),
        sa.Column("lease_until", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("kinds", sa.JSON, nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "outbox",
        sa.Column("id", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("consumer", ORDERED_TEXT, nullable=False),
        sa.Column("shard", sa.SmallInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("part", sa.SmallInteger, nullable=False),
        sa.Column("instance_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("role", sa.String(100), nullable=False),
        sa.Column("change_id", sa.String(40), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due_at", TIME),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("failed_at", TIME),
        sa.UniqueConstraint("consumer", "sequence", "part", name="outbox_change"),
        if_not_exists=True,
        sqlite_autoincrement=True,  # a number never names another change
    )
    for name, columns in (
        ("outbox_user", ["instance_id", "user_id", "consumer", "sequence", "part"]),
        ("outbox_due", ["due_at", "consumer", "shard"]),
        ("outbox_state", ["state", "id"]),
        ("outbox_counts", ["consumer", "state", "at"]),
    ):
        op.create_index(name, "outbox", columns, if_not_exists=True)
    op.create_table(
        "left_keys",
        sa.Column("instance_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("at", TIME, nullable=False),
        if_not_exists=True,
    )
    op.create_index("left_keys_at", "left_keys", ["at"], if_not_exists=True)
    op.create_table(
        "outbox_silent",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        if_not_exists=True,
    )
    op.create_table(
        "sinks",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("kinds", sa.JSON, nullable=False),
        sa.Column("full", sa.Boolean, nullable=False),
        sa.Column("secrets", sa.JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("paused_at", TIME),
        sa.Column("paused_by", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "keys",
        sa.Column("name", ORDERED_TEXT, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("expires_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.Column("used_at", TIME),
        if_not_exists=True,
    )
    op.create_index("keys_created", "keys", ["created_at", "name"], if_not_exists=True)


def downgrade() -> None:
    for name in ("keys", "sinks", "left_keys", "outbox_silent", "outbox", "outbox_consumers"):
        op.drop_table(name)
