"""Invitation codes, the accounts that used them, and tallies of quotas."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
ORDERED_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "codes",
        sa.Column("id", sa.Uuid, primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False, unique=True),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("allowed", sa.Integer, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("roles_until", MOMENT),
        sa.Column("ends_at", MOMENT),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("revoked_at", MOMENT),
        # The last word on how often a code admits, whatever a program believes.
        sa.CheckConstraint("used >= 0 AND used <= allowed", name="codes_used"),
        if_not_exists=True,
    )
    op.create_index("codes_created", "codes", ["created_at", "id"], if_not_exists=True)
    op.create_table(
        "code_uses",
        sa.Column("instance_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("code_id", sa.Uuid, primary_key=True),
        sa.Column("used_at", MOMENT, nullable=False),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_index(
        "code_uses_code", "code_uses", ["code_id", "used_at", "user_id"], if_not_exists=True
    )
    op.create_table(
        "tallies",
        sa.Column("instance_id", sa.Uuid, primary_key=True),
        sa.Column("place", ORDERED_TEXT, primary_key=True),
        sa.Column("ends_at", MOMENT, nullable=False),
        sa.Column("people", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_index("tallies_end", "tallies", ["ends_at"], if_not_exists=True)


def downgrade() -> None:
    for table in ("tallies", "code_uses", "codes"):
        op.drop_table(table)
