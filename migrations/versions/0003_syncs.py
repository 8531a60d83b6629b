"""The progress of a sync with Identity, and the differences that the last one left."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "syncs",
        sa.Column("instance_id", sa.Uuid, primary_key=True),
        sa.Column("run_id", sa.Uuid, nullable=False),
        sa.Column("plan", sa.String(16), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("progress", sa.JSON, nullable=False),
        sa.Column("lease", sa.Uuid),
        sa.Column("lease_until", TIME, nullable=False),
        sa.Column("completed_at", TIME),
        sa.Column("completed_plan", sa.String(16), nullable=False),
        sa.Column("completed_left", sa.JSON, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sync_marks",
        sa.Column("run_id", sa.Uuid, primary_key=True),
        sa.Column("user_id", sa.Uuid, primary_key=True),
        sa.Column("mark", sa.SmallInteger, nullable=False),
        sqlite_with_rowid=False,
    )
