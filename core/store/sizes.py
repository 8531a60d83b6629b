"""How many rows are read at once. People choose how large theirs are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, Text, cast, func, select

from usher.core.store.tables import AUDIT, USERS

READ_BYTES: Final = 1024 * 1024
"""Of JSON that is read at once: its values may take fifty times as much memory."""


def octets(*columns: ColumnElement[Any]) -> ColumnElement[int]:
    """The length of columns with JSON."""
    total: ColumnElement[int] = sum(
        (func.coalesce(func.length(cast(column, Text)), 0) for column in columns[1:]),
        start=func.coalesce(func.length(cast(columns[0], Text)), 0),
    )
    return total


ENTRY: Final = octets(AUDIT.c.before, AUDIT.c.after)
"""The length of an entry of the audit."""
_USER: Final = octets(
    USERS.c.user_metadata,
    USERS.c.app_metadata,
    USERS.c.profile,
    USERS.c.extra_app_metadata,
    USERS.c.identity_state,
)
_WITH_USER: Final = ENTRY + func.coalesce(
    select(_USER)
    .where(USERS.c.instance_id == AUDIT.c.instance_id, USERS.c.id == AUDIT.c.user_id)
    .scalar_subquery(),
    0,
)


def fitting(
    connection: Connection,
    where: Sequence[ColumnElement[bool]],
    limit: int,
    *,
    people: bool = False,
) -> int:
    """How many of the first entries of the audit, by number, may be read at once; one at least.

    Args:
        limit: the most.
        people: each is read with the record of its user.
    """
    size = _WITH_USER if people else ENTRY
    sizes = select(size).where(*where).order_by(AUDIT.c.sequence)
    return most_of(connection, sizes, limit)


def most_of(connection: Connection, sizes: Select[Any], limit: int) -> int:
    """How many rows of these sizes may be read at once; one at least, and ``limit`` at most."""
    left = READ_BYTES
    for count, size in enumerate(connection.execute(sizes.limit(limit)).scalars()):
        left -= size
        if left < 0 and count:
            return count
    return limit
