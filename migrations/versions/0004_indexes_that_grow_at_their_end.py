"""Three indexes in the order of creation, so that new rows stand together at their ends."""

from usher.migrations.indexes import Index

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEXES = (
    Index("users_status", "users", "instance_id, status, created_at, id"),
    Index("users_provider", "users", "instance_id, provider, created_at, id"),
    Index("grants_role", "grants", "instance_id, role, created_at, user_id"),
)
