"""Three indexes in the order of creation, so that new rows stand together at their ends."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, table, column, key in (
        ("users_status", "users", "status", "id"),
        ("users_provider", "users", "provider", "id"),
        ("grants_role", "grants", "role", "user_id"),
    ):
        op.drop_index(name, table)
        op.create_index(name, table, ["instance_id", column, "created_at", key])
