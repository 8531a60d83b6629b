"""The counters, read: sums of shards, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    case,
    collate,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)

from usher.core.store.counters import NO_INSTANCE
from usher.core.store.tables import COUNTERS as _COUNTERS
from usher.core.store.tables import GRANTS as _GRANTS

MAX_NAMES: Final = 100
"""Names of one kind that are returned at most, the most frequent first."""


def read_counters(
    connection: Connection, instance_id: UUID, kind: str, now: datetime, since: str = ""
) -> Mapping[str, int]:
    """Counts by name, the greatest first; ``MAX_NAMES`` at most.

    Args:
        kind: ``status``, ``provider``, ``role`` or ``day``.
        now: grants that ended by then do not count.
        since: only names from this one on; then all of them, in order of name.

    Returns:
        Positive counts alone. The name of a ``day`` is ``YYYY-MM-DD:event:outcome``.
    """
    counted: Select[Any] | CompoundSelect[Any] = select(_COUNTERS.c.name, _COUNTERS.c.value).where(
        _COUNTERS.c.instance_id == instance_id,
        _COUNTERS.c.name >= f"{kind}:{since}",
        _COUNTERS.c.name < f"{kind};",  # the character after the colon
    )
    if kind == "role":
        counted = union_all(counted, _ended(connection, instance_id, now))
    numbers = counted.subquery()
    total = func.sum(numbers.c.value)
    statement = select(numbers.c.name, total).group_by(numbers.c.name).having(total > 0)
    if since:
        statement = statement.order_by(numbers.c.name)
    else:
        statement = statement.order_by(total.desc(), numbers.c.name).limit(MAX_NAMES)
    start = len(kind) + 1
    rows: Sequence[Any] = connection.execute(statement).all()
    return {name[start:]: int(value) for name, value in rows}


def oversized_since(connection: Connection, day: str) -> Mapping[str, int]:
    """The counts of ``usher.core.oversized``, from a day on (YYYY-MM-DD)."""
    statement = (
        select(_COUNTERS.c.name, func.sum(_COUNTERS.c.value))
        .where(
            _COUNTERS.c.instance_id == NO_INSTANCE,
            _COUNTERS.c.name >= f"oversized:{day}",
            _COUNTERS.c.name < "oversized;",
        )
        .group_by(_COUNTERS.c.name)
    )
    found = connection.execute(statement).all()
    return {name.partition(":")[2]: int(count) for name, count in found}


def refused_codes_since(connection: Connection, day: str) -> int:
    """How often a code that cannot be used was given, from a day on (YYYY-MM-DD)."""
    statement = select(func.sum(_COUNTERS.c.value)).where(
        _COUNTERS.c.instance_id == NO_INSTANCE,
        _COUNTERS.c.name >= f"codes:{day}",
        _COUNTERS.c.name < "codes;",
    )
    return int(connection.execute(statement).scalar_one() or 0)


def _ended(connection: Connection, instance_id: UUID, now: datetime) -> Select[Any]:
    """Corrections to the counters of roles, for grants that ended and are still on record.

    They are few, since maintenance removes such grants. One statement reads them with the
    counters, so that none is subtracted twice. A role counts where a source grants it and none
    denies it.
    """
    # A step of its own, over all instances: else planners read all grants of this instance.
    named = (_GRANTS.c.instance_id, _GRANTS.c.user_id, _GRANTS.c.role)
    ended = select(*named).where(_GRANTS.c.expires_at <= now).cte("ended")
    ended = ended.prefix_with("MATERIALIZED")
    word = case((_GRANTS.c.denies, 2), else_=1)
    holds = or_(_GRANTS.c.expires_at.is_(None), _GRANTS.c.expires_at > now)
    counted = case((func.max(word) == 1, 1), else_=0)
    counts = case((func.max(case((holds, word), else_=0)) == 1, 1), else_=0)
    name: ColumnElement[Any] = literal("role:") + _GRANTS.c.role
    if connection.dialect.name == "postgresql":
        name = collate(name, "C")  # the collation of the counters' names
    return (
        select(name, counts - counted)
        .where(_GRANTS.c.instance_id == instance_id, tuple_(*named).in_(select(ended)))
        .group_by(*named)
    )
