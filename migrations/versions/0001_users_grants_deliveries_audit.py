"""Users, their grants, the ledger of deliveries, and the audit."""

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
        sa.Column("identity_state", sa.JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("identity_created_at", TIME),
        sa.Column("confirmed_at", TIME),
        sa.Column("suspended_at", TIME),
        sa.Column("deleted_at", TIME),
        sa.Column("last_seen_at", TIME),
        sa.Column("applied_order", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index("users_email", "users", ["email_key"])
    op.create_index("users_created", "users", ["created_at", "id"])
    op.create_index("users_last_seen", "users", ["last_seen_at", "id"])
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
    op.create_index("grants_role", "grants", ["role", "user_id"])
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
        sa.Column("reply_status", sa.Integer, nullable=False),
        sa.Column("reply_type", sa.Text, nullable=False),
        sa.Column("reply_body", sa.Text, nullable=False),
    )
    op.create_index("deliveries_user", "deliveries", ["user_id", "sequence"])
    op.create_table(
        "audit",
        sa.Column("sequence", SERIAL, primary_key=True, autoincrement=True),
        sa.Column("instance_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("delivery_id", sa.String(72)),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("audit_user", "audit", ["user_id", "sequence"])
