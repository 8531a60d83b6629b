"""The ledger, read: lists, look-ups, and what maintenance and hands do to single deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, bindparam, select, update

from usher.core.domain.policy import Reason
from usher.core.domain.records import RECORD_REMOVED, Decision, Delivery, Outcome, Page
from usher.core.domain.reply import Reply
from usher.core.errors import DeliveryNotFoundError, DeniedError
from usher.core.store.counters import Counters
from usher.core.store.database import Transaction
from usher.core.store.filters import DeliveryFilters
from usher.core.store.keyset import MAX_PAGE, Order, fetch
from usher.core.store.ledger import IMPORTED
from usher.core.store.tables import DELIVERIES as _DELIVERIES

_REMOVED: Final = Reason(
    RECORD_REMOVED, "the pending record never became an account; personal data erased"
)
_REFUSAL = (
    select(_DELIVERIES.c.reply_status, _DELIVERIES.c.reply_type, _DELIVERIES.c.reply_body)
    .where(
        _DELIVERIES.c.instance_id == bindparam("instance_id"),
        _DELIVERIES.c.address_key == bindparam("address_key"),
        _DELIVERIES.c.received_at > bindparam("after"),
        _DELIVERIES.c.reply_status == DeniedError.status,
        _DELIVERIES.c.origin == "live",
        _DELIVERIES.c.key_index != IMPORTED,
    )
    .order_by(_DELIVERIES.c.received_at.desc(), _DELIVERIES.c.sequence.desc())
    .limit(1)
)
_NEWEST = Order(
    "received", (_DELIVERIES.c.received_at, _DELIVERIES.c.sequence), (datetime, int), True
)


def find(connection: Connection, prefix: str, instance_id: UUID | None) -> Delivery:
    """The one delivery whose id begins with ``prefix``; see ``Ledger.find``."""
    wanted = [_DELIVERIES.c.id >= prefix, _DELIVERIES.c.id < prefix + "~"]
    if instance_id is not None:
        wanted.append(_DELIVERIES.c.instance_id == instance_id)
    found = select(_DELIVERIES).where(*wanted).order_by(_DELIVERIES.c.id).limit(2)
    rows = connection.execute(found).all()
    if not rows:
        raise DeliveryNotFoundError(f"No event's id begins with {prefix[:72]!r}.")
    if len(rows) > 1:
        raise DeliveryNotFoundError(
            f"Several events' ids begin with {prefix[:72]!r}; give more characters."
        )
    return to_delivery(rows[0])


def denied_after(connection: Connection, sequence: int) -> list[Delivery]:
    """The denied deliveries after the one of this ``sequence``, the newest first."""
    columns = _DELIVERIES.c
    denied = (
        select(_DELIVERIES)
        .where(columns.sequence > sequence, columns.outcome == Outcome.DENIED.value)
        .order_by(columns.sequence.desc())
        .limit(MAX_PAGE)
    )
    return [to_delivery(row) for row in connection.execute(denied)]


def refusal(connection: Connection, instance_id: UUID, address_key: str, after: datetime) -> str:
    """The newest sentence with which the policy refused an address; see ``Ledger.refusal``."""
    values = {"instance_id": instance_id, "address_key": address_key, "after": after}
    row = connection.execute(_REFUSAL, values).first()
    return Reply(row[0], row[1], row[2]).refusal if row else ""


def page(
    connection: Connection,
    instance_id: UUID,
    filters: DeliveryFilters,
    limit: int,
    cursor: str | None,
) -> Page[Delivery]:
    """One page of deliveries by time of receipt, the newest first; see ``Ledger.page``."""
    rows, following = fetch(
        connection,
        select(_DELIVERIES),
        _NEWEST,
        within=[
            _DELIVERIES.c.instance_id == instance_id,
            *conditions(replace(filters, event="", outcome="")),
        ],
        where=conditions(DeliveryFilters(event=filters.event, outcome=filters.outcome)),
        cursor=cursor,
        limit=limit,
    )
    return Page(tuple(map(to_delivery, rows)), following)


def conditions(filters: DeliveryFilters) -> list[ColumnElement[bool]]:
    """SQL conditions for the filters."""
    columns, found = _DELIVERIES.c, []
    if filters.event:
        found.append(columns.event == filters.event)
    if filters.outcome:
        found.append(columns.outcome == filters.outcome)
    if filters.user_id:
        found.append(columns.user_id == filters.user_id)
    if filters.since:
        found.append(columns.received_at >= filters.since)
    if filters.until:
        found.append(columns.received_at < filters.until)
    return found


def settle(
    transaction: Transaction, failed: Delivery, decision: Decision, fingerprint: str
) -> None:
    """Note what a failed delivery came to when it was decided again by hand.

    Its reply stays: Identity got no other. Nothing happens where it has come again meanwhile.

    Args:
        fingerprint: of the policy that decided.
    """
    settled = replace(
        failed, outcome=decision.outcome, reasons=decision.reasons, policy=fingerprint
    )
    written = transaction.sql.execute(
        update(_DELIVERIES)
        .where(_DELIVERIES.c.id == failed.id, _DELIVERIES.c.outcome == Outcome.FAILED.value)
        .values(
            outcome=settled.outcome.value,
            reasons=[[reason.rule, reason.text] for reason in settled.reasons],
            policy=fingerprint,
        )
    )
    if written.rowcount:
        counters = Counters()
        counters.count_deliveries([settled], superseded=[failed])
        counters.write(transaction)


def note_removal(connection: Connection, instance_id: UUID, user_id: UUID) -> None:
    """Note in a user's deliveries that the record was removed, so that no replay buries it."""
    mine = (_DELIVERIES.c.user_id == user_id, _DELIVERIES.c.instance_id == instance_id)
    rows = connection.execute(select(_DELIVERIES.c.sequence, _DELIVERIES.c.reasons).where(*mine))
    note = [_REMOVED.rule, _REMOVED.text]
    for sequence, reasons in rows.all():
        if note not in reasons:
            delivery = update(_DELIVERIES).where(_DELIVERIES.c.sequence == sequence)
            connection.execute(delivery.values(reasons=[*reasons, note]))


def to_delivery(row: Any) -> Delivery:
    """A delivery from its row."""
    return Delivery(
        id=row.id,
        instance_id=row.instance_id,
        event=row.event,
        user_id=row.user_id,
        issued_at=row.issued_at,
        received_at=row.received_at,
        path=row.path,
        body=row.body,
        body_digest=row.body_digest,
        key_index=row.key_index,
        outcome=Outcome(row.outcome),
        reasons=tuple(Reason(rule, text) for rule, text in row.reasons),
        policy=row.policy,
        reply=Reply(row.reply_status, row.reply_type, row.reply_body),
        sequence=row.sequence,
        origin=row.origin,
        address_key=row.address_key or "",
    )
