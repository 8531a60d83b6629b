"""Where the Identity instance in use is kept, and found. ``domain.instances`` says what follows.

Once an instance is adopted, only the setting changes which one is in use, and a process has one
setting as long as it lives. So what is chosen is remembered, and costs an event no statement. The
table also keeps what the setting says, so that taking it away leaves the instance in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from msgspec.structs import replace

from usher.core.domain.instances import How, KnownInstances
from usher.core.store.database import Transaction
from usher.core.store.statements import (
    ADOPTED,
    FIRST_INSTANCE_OF_AUDIT,
    FIRST_INSTANCE_OF_DELIVERIES,
    FIRST_INSTANCE_OF_USERS,
    INTO_INSTANCES,
    NEWEST_INSTANCE,
    NEXT_INSTANCE_OF_AUDIT,
    NEXT_INSTANCE_OF_DELIVERIES,
    NEXT_INSTANCE_OF_USERS,
)
from usher.core.store.values import hex_of, time_text

NOBODY: Final = UUID(int=0)
"""For a list before anything is known: it finds nothing. Nothing is written under it."""
SLOT: Final = 1

_IF_NONE: Final = " ON CONFLICT DO NOTHING"
_IF_ANOTHER: Final = (
    " ON CONFLICT (slot) DO UPDATE SET instance_id = excluded.instance_id, how = excluded.how,"
    " adopted_at = excluded.adopted_at, delivery_id = excluded.delivery_id"
    " WHERE instances.instance_id <> excluded.instance_id"
)
_FIRST_AND_NEXT: Final = {
    "users": (FIRST_INSTANCE_OF_USERS, NEXT_INSTANCE_OF_USERS),
    "audit": (FIRST_INSTANCE_OF_AUDIT, NEXT_INSTANCE_OF_AUDIT),
    "deliveries": (FIRST_INSTANCE_OF_DELIVERIES, NEXT_INSTANCE_OF_DELIVERIES),
}


class Instances:
    """The Identity instances of one database.

    Args:
        configured: ``USHER_INSTANCE_ID``, if it is set. It wins.

    Attributes:
        chosen: what is in use, as far as this process knows.
        kept: whether the table is known to hold it.
    """

    def __init__(self, configured: UUID | None = None) -> None:
        self.chosen: KnownInstances | None = None
        self.kept = False
        if configured is not None:
            self.chosen = KnownInstances(frozenset((configured,)), How.SETTING)

    def known(self, transaction: Transaction) -> KnownInstances:
        """The known instances; asks the database only as long as none is chosen."""
        if self.chosen is not None:
            return self.chosen
        if (known := _in_the_table(transaction)) is not None:
            self.kept, self.chosen = True, known
            return known
        found = frozenset(instances_in(transaction, "users"))
        return KnownInstances(found, How.RECORDS if found else How.NOT)

    def keep(
        self, transaction: Transaction, instance_id: UUID, now: datetime, delivery_id: str
    ) -> KnownInstances:
        """Adopt the instance of a live event; where the setting chose it, note that.

        An adoption by another transaction is waited for, and wins.

        Returns:
            The instance in use then; to be given to ``committed`` afterwards.
        """
        row = hex_of(instance_id), time_text(now), delivery_id
        if self.chosen is not None:
            kept = _in_the_table(transaction)
            if kept is not None and kept.accepted == self.chosen.accepted:
                return replace(self.chosen)
            transaction.insert(INTO_INSTANCES, [_row(How.SETTING, *row)], _IF_ANOTHER)
            return replace(self.chosen)
        transaction.insert(INTO_INSTANCES, [_row(How.EVENT, *row)], _IF_NONE)
        known = _in_the_table(transaction)
        if known is None:
            raise AssertionError("unreachable")
        return known

    def committed(self, known: KnownInstances) -> bool:
        """Remember what a committed transaction kept; whether it was an adoption."""
        if known is self.chosen or not known.chosen:
            return False
        self.chosen, self.kept = known, True
        return known.how is How.EVENT

    def shown(self, transaction: Transaction) -> UUID:
        """The instance whose records and deliveries are shown.

        Raises:
            SeveralInstancesError: the records are of several, and none is chosen.
        """
        found = self.known(transaction).one
        if found is None:  # no record yet, but deliveries without effect may have come
            newest = transaction.fetch(NEWEST_INSTANCE)
            return newest[0][0] if newest else NOBODY
        return found


def _in_the_table(transaction: Transaction) -> KnownInstances | None:
    """The kept choice."""
    rows = transaction.fetch(ADOPTED)
    return KnownInstances(frozenset((rows[0][0],)), How(rows[0][1])) if rows else None


def _row(how: How, instance: str, at: str, delivery_id: str) -> tuple[Any, ...]:
    """In the order of ``INTO_INSTANCES``."""
    return SLOT, instance, how.value, at, delivery_id


def instances_in(
    transaction: Transaction, table: Literal["users", "deliveries", "audit"]
) -> Iterator[UUID]:
    """Every instance in a table with an index that begins with it; one look-up for each."""
    first, following = _FIRST_AND_NEXT[table]
    found = transaction.fetch(first, hex_of(NOBODY))
    while found:
        instance_id: UUID = found[0][0]
        yield instance_id
        found = transaction.fetch(following, hex_of(instance_id))
