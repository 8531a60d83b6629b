"""The numbers of each Identity instance in the database, and when ours was adopted."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import Table, func, select

from usher.core.domain.events import EventName
from usher.core.domain.instances import How, KnownInstances
from usher.core.domain.records import Outcome
from usher.core.store.database import Transaction
from usher.core.store.instances import SLOT, instances_in
from usher.core.store.tables import DELIVERIES as _DELIVERIES
from usher.core.store.tables import INSTANCES
from usher.core.store.tables import USERS as _USERS


class Adoption(Struct, frozen=True):
    """The adopted instance, when and how, and the event that named it."""

    instance_id: UUID
    how: How
    at: datetime
    delivery_id: str | None


class OnRecord(Struct, frozen=True):
    """The numbers of one instance in the database.

    Attributes:
        refused: live events that were refused, as those of an instance that is not in use.
        newest: when the newest of them came.
    """

    instance_id: UUID
    users: int
    events: int
    refused: int
    newest: datetime | None


def adopted(transaction: Transaction) -> Adoption | None:
    """The adoption, if there was one."""
    row = transaction.sql.execute(select(INSTANCES).where(INSTANCES.c.slot == SLOT)).first()
    if row is None:
        return None
    return Adoption(row.instance_id, How(row.how), row.adopted_at, row.delivery_id)


def on_record(transaction: Transaction, known: KnownInstances) -> list[OnRecord]:
    """The numbers of each instance in the database."""
    return [_counted(transaction, one, ours=known.takes(one)) for one in _ids(transaction)]


def others(transaction: Transaction, known: KnownInstances) -> list[OnRecord]:
    """The numbers of each instance that is not in use; ours, which are many, are not counted."""
    ids = [one for one in _ids(transaction) if not known.takes(one)]
    return [_counted(transaction, one, ours=False) for one in ids]


def _ids(transaction: Transaction) -> list[UUID]:
    found = {i for table in ("users", "deliveries") for i in instances_in(transaction, table)}
    return sorted(found)


def _counted(transaction: Transaction, instance_id: UUID, *, ours: bool) -> OnRecord:
    def count(table: Table, *conditions: Any) -> Any:
        here = select(func.count()).select_from(table)
        where = (table.c.instance_id == instance_id, *conditions)
        return transaction.sql.execute(here.where(*where)).scalar_one()

    users, events = count(_USERS), count(_DELIVERIES)
    if ours:
        return OnRecord(instance_id, users, events, 0, None)
    refused = (
        _DELIVERIES.c.outcome == Outcome.IGNORED.value,
        _DELIVERIES.c.event.in_(tuple(EventName)),  # others are ignored whatever their instance
        _DELIVERIES.c.origin == "live",
        _DELIVERIES.c.key_index >= 0,  # not imported
    )
    order = _DELIVERIES.c.received_at.desc()
    here = select(_DELIVERIES.c.received_at).where(_DELIVERIES.c.instance_id == instance_id)
    newest = transaction.sql.execute(here.where(*refused).order_by(order).limit(1)).scalar()
    return OnRecord(instance_id, users, events, count(_DELIVERIES, *refused), newest)
