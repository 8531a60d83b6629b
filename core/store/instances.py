"""The Identity instance that is meant: the configured one, or the only one on record."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy import Connection, Table, select

from usher.core.errors import SeveralInstancesError
from usher.core.store.tables import DeliveryRow, UserRow

ZERO: Final = UUID(int=0)
"""The instance id of a single-instance GoTrue server."""

_TABLES: Final[tuple[Table, ...]] = (UserRow.__table__, DeliveryRow.__table__)  # type: ignore[attr-defined]
_ENDS = select(
    *(
        select(table.c.instance_id).order_by(order).limit(1).scalar_subquery()
        for table in _TABLES
        for order in (table.c.instance_id, table.c.instance_id.desc())
    )
)
"""The least and the greatest instance of each table, from the beginning of an index."""


def known_instance(connection: Connection, configured: UUID | None) -> UUID | None:
    """The instance as ``the_instance`` finds it; None before the first record.

    Raises:
        SeveralInstancesError: none is configured, and the records are of several.
    """
    if configured is not None:
        return configured
    found: set[UUID] = {end for end in connection.execute(_ENDS).one() if end is not None}
    if len(found) > 1:
        raise SeveralInstancesError(
            "There are records of several Identity instances. Set USHER_INSTANCE_ID to the one "
            "that is meant."
        )
    return next(iter(found), None)


def the_instance(connection: Connection, configured: UUID | None) -> UUID:
    """The instance whose records are shown and changed; ``ZERO`` before the first record.

    Args:
        configured: ``USHER_INSTANCE_ID``, if it is set.

    Raises:
        SeveralInstancesError: none is configured, and the records are of several.
    """
    found = known_instance(connection, configured)
    return ZERO if found is None else found
