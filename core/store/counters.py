"""Counters of users and deliveries, kept by every transaction so that no reader counts rows.

A counter is the sum of its shards. Each process adds to one of them, so that writers on PostgreSQL
do not wait for one another's rows.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from random import SystemRandom
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    Table,
    case,
    collate,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)

from usher.core.domain.records import Delivery, Status, User
from usher.core.store.bulk_insert import BulkInsert
from usher.core.store.database import Database
from usher.core.store.tables import CounterRow, GrantRow

SHARDS: Final = 16
MAX_NAMES: Final = 100
"""Names of one kind that are returned at most, the most frequent first."""

_COUNTERS: Final[Table] = CounterRow.__table__  # type: ignore[attr-defined]
_GRANTS: Final[Table] = GrantRow.__table__  # type: ignore[attr-defined]
_ADD = BulkInsert(_COUNTERS, upsert=True, adding="value")
_NONE: Final = UUID(int=0)


@cache
def _shard(_process_id: int) -> int:
    """The shard of a process, drawn at its first write.

    Drawn at import, it would be the same in all processes that are forked, or restored from one
    snapshot.
    """
    return SystemRandom().randrange(SHARDS)


class Counted(Struct, frozen=True):
    """A delivery as far as it is counted."""

    instance_id: UUID
    received_at: datetime
    event: str
    outcome: str


class Counters:
    """The changes of one transaction to the counters."""

    def __init__(self) -> None:
        self._changes: defaultdict[UUID, Counter[str]] = defaultdict(Counter)

    def count_user(self, before: User | None, after: User | None) -> None:
        """Count a record that is written.

        Args:
            before: the record as it stood; None: it is new.
            after: the record from now on; None: it is removed.
        """
        if before is not None:
            if (
                after is not None
                and before.grants == after.grants
                and before.provider == after.provider
                and before.status is after.status
            ):
                return  # most logins
            self._add(before.instance_id, _user_names(before), -1)
        if after is not None:
            self._add(after.instance_id, _user_names(after), 1)

    def count_deliveries(
        self, deliveries: Sequence[Delivery], superseded: Sequence[Counted | Delivery] = ()
    ) -> None:
        """Count deliveries by day of receipt (UTC), event and outcome.

        Args:
            superseded: those that count no more.
        """
        for each in deliveries:
            self._add(each.instance_id, (_delivery_name(each),), 1)
        for gone in superseded:
            self._add(gone.instance_id, (_delivery_name(gone),), -1)

    def write(self, connection: Connection) -> None:
        """Add the changes to the table; last in a transaction, for others may wait for the rows."""
        shard = _shard(os.getpid())
        rows = [
            {"instance_id": instance_id, "name": name, "shard": shard, "value": change}
            for instance_id, changes in sorted(self._changes.items())
            for name, change in sorted(changes.items())
            if change
        ]
        _ADD.execute(connection, rows)
        self._changes.clear()

    def _add(self, instance_id: UUID, names: Iterable[str], change: int) -> None:
        changes = self._changes[instance_id]
        for name in names:
            changes[name] += change


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


def _delivery_name(each: Counted | Delivery) -> str:
    return f"day:{each.received_at.date()}:{each.event[:40]}:{each.outcome}"


class OversizedTable:
    """The counts of requests refused for their size, by ``YYYY-MM-DD:kind``; of no instance."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, counts: Mapping[str, int]) -> None:
        """Add to the counts, in one transaction.

        Raises:
            DatabaseError: nothing was added.
        """
        shard = _shard(os.getpid())
        rows = [
            {"instance_id": _NONE, "name": f"oversized:{name}", "shard": shard, "value": count}
            for name, count in sorted(counts.items())
        ]
        with self._database.write() as connection:
            _ADD.execute(connection, rows)

    def since(self, day: str) -> Mapping[str, int]:
        """The counts from a day on (YYYY-MM-DD).

        Raises:
            DatabaseError: the database cannot be used.
        """
        statement = (
            select(_COUNTERS.c.name, func.sum(_COUNTERS.c.value))
            .where(
                _COUNTERS.c.instance_id == _NONE,
                _COUNTERS.c.name >= f"oversized:{day}",
                _COUNTERS.c.name < "oversized;",
            )
            .group_by(_COUNTERS.c.name)
        )
        with self._database.read() as connection:
            found = connection.execute(statement).all()
        return {name.partition(":")[2]: int(count) for name, count in found}


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


def _user_names(user: User) -> Iterator[str]:
    yield f"status:{user.status.value}"
    if user.status is Status.DELETED:
        return
    if user.provider:
        yield f"provider:{user.provider}"
    # Ended grants count too, so that the number depends on the record alone and not on the time.
    # Readers correct for them (_ended) until maintenance removes them.
    denied = {grant.role for grant in user.grants if grant.denies}
    for role in {grant.role for grant in user.grants if not grant.denies} - denied:
        yield f"role:{role}"
