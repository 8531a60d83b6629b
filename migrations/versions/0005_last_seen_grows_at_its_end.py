"""Users never seen are indexed in the order of creation, so that new ones stand together."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("users_last_seen", "users")
    op.create_index("users_last_seen", "users", ["instance_id", "last_seen_at", "created_at", "id"])
