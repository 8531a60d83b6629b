"""Counters of users and deliveries, kept by every transaction so that no reader counts rows.

A counter is the sum of its shards. Each process adds to one of them, so that writers on PostgreSQL
do not wait for one another's rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import cache
from random import SystemRandom
from typing import Final
from uuid import UUID

from msgspec import Struct

from usher.core.domain.records import Delivery, User
from usher.core.store.database import Database, Transaction
from usher.core.store.statements import INTO_COUNTERS, REMOVE_COUNTERS
from usher.core.store.values import hex_of, time_text

SHARDS: Final = 16
OVERSIZED_DAYS: Final = 90
"""Days for which requests refused for their size stay counted."""
REFUSED_CODES_DAYS: Final = 90
"""Days for which refused invitation codes stay counted."""
NO_INSTANCE: Final = UUID(int=0)

_ADD: Final = INTO_COUNTERS.adding("value")
_DAY: Final = len("2026-03-02")


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
        self._changes: dict[int, dict[str, int]] = {}  # Python hashes a UUID slowly

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

    def write(self, transaction: Transaction) -> None:
        """Add the changes to the table; last in a transaction, for others may wait for the rows."""
        shard = _shard(os.getpid())
        rows = [
            (f"{instance:032x}", name, shard, change)
            for instance, changes in sorted(self._changes.items())
            for name, change in sorted(changes.items())
            if change
        ]
        transaction.insert(INTO_COUNTERS, rows, _ADD)
        self._changes.clear()

    def _add(self, instance_id: UUID, names: Iterable[str], change: int) -> None:
        changes = self._changes.setdefault(instance_id.int, {})
        for name in names:
            changes[name] = changes.get(name, 0) + change


class OversizedTable:
    """The counts of requests refused for their size, by ``YYYY-MM-DD:kind``; of no instance."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, counts: Mapping[str, int]) -> None:
        """Add to the counts, and remove those of old days, in one transaction.

        Raises:
            DatabaseError: nothing was added.
        """
        shard, nobody = _shard(os.getpid()), hex_of(NO_INSTANCE)
        rows = [
            (nobody, f"oversized:{name}", shard, count) for name, count in sorted(counts.items())
        ]
        newest = date.fromisoformat(max(counts)[:_DAY])
        kept_since = f"oversized:{newest - timedelta(days=OVERSIZED_DAYS)}"
        with self._database.write() as transaction:
            transaction.send(REMOVE_COUNTERS, nobody, "oversized:", kept_since)
            transaction.insert(INTO_COUNTERS, rows, _ADD)

    def since(self, day: str) -> Mapping[str, int]:
        """The counts from a day on (YYYY-MM-DD).

        Raises:
            DatabaseError: the database cannot be used.
        """
        from usher.core.store.counts import oversized_since  # noqa: PLC0415 - loads SQLAlchemy

        with self._database.read() as transaction:
            return oversized_since(transaction.sql, day)


def count_refused_codes(transaction: Transaction, count: int, now: datetime) -> None:
    """Add to the count of invitation codes that could not be used; that of old days goes."""
    nobody, today = hex_of(NO_INSTANCE), now.date()
    kept_since = f"codes:{today - timedelta(days=REFUSED_CODES_DAYS)}"
    transaction.send(REMOVE_COUNTERS, nobody, "codes:", kept_since)
    row = (nobody, f"codes:{today}", _shard(os.getpid()), count)
    transaction.insert(INTO_COUNTERS, [row], _ADD)


def _delivery_name(each: Counted | Delivery) -> str:
    return ":".join(("day", time_text(each.received_at)[:_DAY], each.event[:40], each.outcome))


def _user_names(user: User) -> list[str]:
    names = [f"status:{user.status._value_}"]  # ``value`` is slow before Python 3.12
    if user.deleted_at is not None:
        return names
    if user.provider:
        names.append(f"provider:{user.provider}")
    # Ended grants count too, so that the number depends on the record alone and not on the time.
    # Readers correct for them (_ended) until maintenance removes them.
    granted: set[str] = set()
    denied: set[str] = set()
    for grant in user.grants:
        (denied if grant.denies else granted).add(grant.role)
    for role in granted - denied:
        names.append(f"role:{role}")  # noqa: PERF401 - a comprehension costs a call here
    return names
