"""Shadow policies: how far each was asked, and where it differs from the policy in force."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "shadows",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Uuid, nullable=False),
        sa.Column("fingerprint", sa.String(12), nullable=False),
        sa.Column("live", sa.String(12), nullable=False),
        sa.Column("begun_at", TIME, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("newest", sa.BigInteger, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("trying", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("lease", sa.Uuid),
        sa.Column("lease_until", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("failed_at", TIME),
        if_not_exists=True,
    )
    op.create_table(
        "shadow_differences",
        sa.Column("run_id", sa.Uuid, primary_key=True),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("change", sa.String(16), primary_key=True),
        sa.Column("role", sa.String(100), primary_key=True),
        sa.Column("rule", sa.String(100), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("delivery_id", sa.String(72), nullable=False),
        sa.Column("instance_id", sa.Uuid, nullable=False),
        sa.Column("user_id", sa.Uuid, nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("at", TIME, nullable=False),
        if_not_exists=True,
    )
    op.create_index("shadow_at", "shadow_differences", ["at"], if_not_exists=True)


def downgrade() -> None:
    op.drop_table("shadow_differences")
    op.drop_table("shadows")
