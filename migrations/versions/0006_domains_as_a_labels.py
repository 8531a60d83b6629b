"""Keys of addresses, and proofs of them, have their domain as A-labels."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from usher.core.domain.events import email_key

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

READS = "users"
STEP = 1_000
USERS = sa.table(
    "users",
    sa.column("instance_id", sa.Uuid),
    sa.column("id", sa.Uuid),
    sa.column("email", sa.Text),
    sa.column("email_key", sa.Text),
    sa.column("identity_state", sa.JSON),
)


CHANGE = (
    USERS.update()
    .where(
        USERS.c.instance_id == sa.bindparam("of_instance", type_=sa.Uuid),
        USERS.c.id == sa.bindparam("of_id", type_=sa.Uuid),
    )
    .values(
        email_key=sa.bindparam("key", type_=sa.Text),
        identity_state=sa.bindparam("state", type_=sa.JSON),
    )
)


def step(connection: sa.Connection, place: Any) -> Any:
    """Rekey ``STEP`` users after one, by their primary key."""
    page = sa.select(USERS).order_by(USERS.c.instance_id, USERS.c.id).limit(STEP)
    if place is not None:
        after = sa.tuple_(*(sa.literal(one, sa.Uuid) for one in place))
        page = page.where(sa.tuple_(USERS.c.instance_id, USERS.c.id) > after)
    rows = connection.execute(page).all()
    found = [(row.instance_id, row.id) for row in rows if rekeyed(row)]
    if found:
        # Only these are locked, and read again: a server may be writing meanwhile.
        again = connection.execute(
            sa.select(USERS)
            .where(sa.tuple_(USERS.c.instance_id, USERS.c.id).in_(found))
            .order_by(USERS.c.instance_id, USERS.c.id)
            .with_for_update()
        ).all()
        if changes := [changed for row in again if (changed := rekeyed(row))]:
            connection.execute(CHANGE, changes)
    return (rows[-1].instance_id, rows[-1].id) if len(rows) == STEP else None


def rekeyed(row: Any) -> dict[str, Any] | None:
    """The new key and proofs of a user; None where nothing changes."""
    key = email_key(row.email)
    # The current address is on record as typed; other proofs are known by their old keys only.
    proven = {
        key if old == row.email_key else email_key(old) for old in row.identity_state["proven"]
    }
    state = row.identity_state | {"proven": sorted(proven)}
    if key == row.email_key and state == row.identity_state:
        return None
    return {"of_instance": row.instance_id, "of_id": row.id, "key": key, "state": state}
