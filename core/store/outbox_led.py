"""The changes that an event, or a person's whole history, led to: from audit and outbox."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select

from usher.core.domain.outbox_queue import Place, Waiting
from usher.core.domain.outbox_view import Known, Led, led_to
from usher.core.domain.records import AuditEntry, Delivery, Key, Page, Status
from usher.core.store.audit import audit_page, to_entry
from usher.core.store.database import Transaction
from usher.core.store.filters import AuditFilters
from usher.core.store.outbox import MARK, people_of, to_waiting, waiting_columns, with_causes
from usher.core.store.tables import AUDIT, CONSUMERS, OUTBOX


def led_by_event(transaction: Transaction, delivery: Delivery) -> list[Led]:
    """The changes that a delivery led to, in order."""
    if delivery.user_id is None:
        return []
    statement = (
        select(AUDIT)
        .where(
            AUDIT.c.instance_id == delivery.instance_id,
            AUDIT.c.user_id == delivery.user_id,  # of whom there is an index
            AUDIT.c.delivery_id == delivery.id,
        )
        .order_by(AUDIT.c.sequence)
    )
    return _led(transaction, [to_entry(row) for row in transaction.sql.execute(statement)])


def led_by_person(
    transaction: Transaction, instance_id: UUID, user_id: UUID, limit: int, cursor: str | None
) -> Page[Led]:
    """The changes of a page of somebody's audit, the newest first.

    Raises:
        CursorInvalidError: the cursor is not one of this list.
    """
    filters = AuditFilters(user_id=user_id)
    page = audit_page(transaction.sql, instance_id, filters, limit, cursor)
    return Page(tuple(_led(transaction, page.items[::-1])[::-1]), page.next_cursor)


def _led(transaction: Transaction, entries: Sequence[AuditEntry]) -> list[Led]:
    """The changes of one person's entries, in their order."""
    if not entries:
        return []
    key = entries[0].instance_id, entries[0].user_id
    record = people_of(transaction, {key}).get(key)
    gone = record is None or record.status is Status.DELETED
    marks = {mark.consumer: mark for mark in _marks(transaction, key)}
    consumers = [
        each.up_to(marks[each.name]) if each.name in marks else each
        for each in _consumers(transaction)
    ]
    rows = _rows(transaction, entries)
    return [
        led
        for found in with_causes(transaction, entries)
        for led in led_to(found, consumers, rows.get(found.entry.sequence, ()), gone=gone)
    ]


def _rows(
    transaction: Transaction, entries: Sequence[AuditEntry]
) -> dict[int | None, list[Waiting]]:
    rows = select(*waiting_columns()).where(
        OUTBOX.c.instance_id == entries[0].instance_id,
        OUTBOX.c.user_id == entries[0].user_id,
        OUTBOX.c.sequence.in_([entry.sequence for entry in entries]),
        OUTBOX.c.kind != MARK,
    )
    found: dict[int | None, list[Waiting]] = {}
    for row in transaction.sql.execute(rows):
        found.setdefault(row.sequence, []).append(to_waiting(row))
    return found


def _marks(transaction: Transaction, key: Key) -> list[Waiting]:
    rows = select(*waiting_columns()).where(
        OUTBOX.c.instance_id == key[0], OUTBOX.c.user_id == key[1], OUTBOX.c.kind == MARK
    )
    return [to_waiting(row) for row in transaction.sql.execute(rows)]


def _consumers(transaction: Transaction) -> list[Known]:
    places: dict[str, dict[int, Place]] = {}
    kinds: dict[str, frozenset[str]] = {}
    for row in transaction.sql.execute(select(CONSUMERS)):
        places.setdefault(row.name, {})[row.shard] = row.position, row.part
        kinds[row.name] = frozenset(row.kinds)
    return [Known(name, kinds[name], shards) for name, shards in places.items()]
