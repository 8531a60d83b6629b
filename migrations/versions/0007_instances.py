"""The Identity instance in use is kept; where all records are of one, it is adopted."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
USERS = sa.table(
    "users",
    sa.column("instance_id", sa.Uuid),
    sa.column("id", sa.Uuid),
    sa.column("applied_order", sa.Text),
)
INSTANCES = sa.table(
    "instances",
    sa.column("slot", sa.Integer),
    sa.column("instance_id", sa.Uuid),
    sa.column("how", sa.Text),
    sa.column("adopted_at", TIME),
)


def upgrade() -> None:
    op.create_table(
        "instances",
        sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("instance_id", sa.Uuid, nullable=False, unique=True),
        sa.Column("how", sa.String(16), nullable=False),
        sa.Column("adopted_at", TIME, nullable=False),
        sa.Column("delivery_id", sa.String(72)),
        if_not_exists=True,
    )
    connection = op.get_bind()
    found = only_instance(connection)
    if found is not None and not connection.execute(sa.select(INSTANCES.c.slot)).first():
        values = {"slot": 1, "instance_id": found, "how": "upgrade"}
        now: object = datetime.now(UTC)
        if connection.dialect.name == "sqlite":  # as the models write it
            now = sa.literal(datetime.now(UTC).isoformat(timespec="microseconds"), sa.Text)
        connection.execute(INSTANCES.insert().values(**values, adopted_at=now))


def only_instance(connection: sa.Connection) -> UUID | None:
    """The instance of all users; None where there are none, or users of several.

    Until now the first access token made a record under the zero instance where none was known. So
    zero counts only where an event wrote one of the records.
    """
    least, greatest = (
        connection.execute(
            sa.select(USERS.c.instance_id).order_by(order, USERS.c.id).limit(1)
        ).scalar()
        for order in (USERS.c.instance_id, USERS.c.instance_id.desc())
    )
    if least != greatest or least is None:
        return None
    by_event = sa.select(USERS.c.id).where(USERS.c.applied_order != "").limit(1)
    if least == UUID(int=0) and not connection.execute(by_event).first():
        return None
    found: UUID = least
    return found
