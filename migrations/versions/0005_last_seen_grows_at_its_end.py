"""Users never seen are indexed in the order of creation, so that new ones stand together."""

from usher.migrations.indexes import Index

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INDEXES = (Index("users_last_seen", "users", "instance_id, last_seen_at, created_at, id"),)
