"""Users, their grants, the ledger of deliveries, the audit, and the counters."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ORDERED_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("instance_id", sa.Uuid, primary_key=True),
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("email_key", ORDERED_TEXT, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("user_metadata", sa.JSON, nullable=False),
        sa.Column("app_metadata", sa.JSON, nullable=False),
        sa.Column("profile", sa.JSON, nullable=False),
        sa.Column("extra_app_metadata", sa.JSON, nullable=False),
        sa.Column("identity_state", sa.JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("identity_created_at", TIME),
        sa.Column("confirmed_at", TIME),
        sa.Column("suspended_at", TIME),
        sa.Column("deleted_at", TIME),
        sa.Column("last_seen_at", TIME, nullable=False),
        sa.Column("applied_order", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("users_email", "users", ["instance_id", "email_key", "id"])
    op.create_index("users_created", "users", ["instance_id", "created_at", "id"])
    op.create_index("users_last_seen", "users", ["instance_id", "last_seen_at", "id"])
    op.create_index("users_status", "users", ["instance_id", "status", "id"])
    op.create_index("users_provider", "users", ["instance_id", "provider", "id"])
    op.create_table(
        "grants",
        sa.Column("instance_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("role", sa.String(100), primary_key=True),
        sa.Column("source", sa.String(16), primary_key=True),
        sa.Column("denies", sa.Boolean, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME),
        sqlite_with_rowid=False,
    )
    op.create_index("grants_role", "grants", ["instance_id", "role", "user_id"])
    ends = sa.text("expires_at IS NOT NULL")
    op.create_index(
        "grants_end", "grants", ["expires_at"], sqlite_where=ends, postgresql_where=ends
    )
    op.create_table(
        "deliveries",
        sa.Column("sequence", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("id", ORDERED_TEXT, nullable=False, unique=True),
        sa.Column("instance_id", sa.Uuid, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("user_id", sa.Uuid),
        sa.Column("issued_at", sa.BigInteger, nullable=False),
        sa.Column("received_at", TIME, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("body_digest", sa.String(64), nullable=False),
        sa.Column("key_index", sa.Integer, nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reasons", sa.JSON, nullable=False),
        sa.Column("policy", sa.String(12), nullable=False),
        sa.Column("origin", sa.String(8), nullable=False),
        sa.Column("reply_status", sa.Integer, nullable=False),
        sa.Column("reply_type", sa.Text, nullable=False),
        sa.Column("reply_body", sa.Text, nullable=False),
    )
    op.create_index("deliveries_received", "deliveries", ["instance_id", "received_at", "sequence"])
    op.create_index(
        "deliveries_user", "deliveries", ["instance_id", "user_id", "received_at", "sequence"]
    )
    op.create_table(
        "audit",
        sa.Column("sequence", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("instance_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("delivery_id", sa.String(72)),
        sa.Column("ledger_position", sa.BigInteger),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("audit_at", "audit", ["instance_id", "at", "sequence"])
    op.create_index("audit_user", "audit", ["instance_id", "user_id", "at", "sequence"])
    op.create_table(
        "counters",
        sa.Column("instance_id", sa.Uuid, primary_key=True),
        sa.Column("name", ORDERED_TEXT, primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
