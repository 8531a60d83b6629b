"""The ledger: every delivery with a good signature, what became of it, and the reply it got."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, Table, and_, bindparam, select, update

from core.database import BulkInsert, Database
from core.errors import DeliveryNotFoundError
from core.models import DeliveryRow
from core.policy import Reason
from core.records import Answer, Delivery

MIN_PREFIX: Final = 6
MAX_PAGE: Final = 200

_DELIVERIES: Final[Table] = DeliveryRow.__table__  # type: ignore[attr-defined]
_INSERT = BulkInsert(_DELIVERIES)
_REPLIES = select(
    _DELIVERIES.c.id,
    _DELIVERIES.c.reply_status,
    _DELIVERIES.c.reply_type,
    _DELIVERIES.c.reply_body,
).where(_DELIVERIES.c.id.in_(bindparam("ids", expanding=True)))


class Ledger:
    """Records and finds deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replies(self, connection: Connection, ids: Iterable[str]) -> dict[str, Answer]:
        """The stored replies of those of these deliveries that are known."""
        rows = connection.execute(_REPLIES, {"ids": list(ids)})
        return {row[0]: Answer(row[1], row[2], row[3]) for row in rows}

    def record(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries in their order of arrival; a known id is an IntegrityError."""
        _INSERT.execute(connection, [_to_row(delivery) for delivery in deliveries])

    def find(self, prefix: str) -> Delivery:
        """The one delivery whose id begins so.

        Raises:
            DeliveryNotFoundError: none, or several.
        """
        if len(prefix) < MIN_PREFIX or not prefix.isprintable():
            raise DeliveryNotFoundError(f"Give at least {MIN_PREFIX} characters of the event's id.")
        with self._database.read() as connection:
            rows = connection.execute(
                select(_DELIVERIES)
                .where(_DELIVERIES.c.id >= prefix, _DELIVERIES.c.id < prefix + "~")
                .order_by(_DELIVERIES.c.id)
                .limit(2)
            ).all()
        if not rows:
            raise DeliveryNotFoundError(f"No event's id begins with {prefix[:72]!r}.")
        if len(rows) > 1:
            raise DeliveryNotFoundError(
                f"Several events' ids begin with {prefix[:72]!r}; give more characters."
            )
        return _to_delivery(rows[0])

    def page(
        self,
        *,
        event: str | None = None,
        outcome: str | None = None,
        user_id: UUID | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[Delivery]:
        """Deliveries, newest first, by keyset.

        Args:
            before: only those that arrived before this ``sequence``.
        """
        statement = select(_DELIVERIES).order_by(_DELIVERIES.c.sequence.desc())
        if event:
            statement = statement.where(_DELIVERIES.c.event == event)
        if outcome:
            statement = statement.where(_DELIVERIES.c.outcome == outcome)
        if user_id:
            statement = statement.where(_DELIVERIES.c.user_id == user_id)
        if before is not None:
            statement = statement.where(_DELIVERIES.c.sequence < before)
        with self._database.read() as connection:
            rows = connection.execute(statement.limit(max(1, min(limit, MAX_PAGE + 1)))).all()
        return [_to_delivery(row) for row in rows]


def erase_deliveries(connection: Connection, instance_id: UUID, user_id: UUID) -> None:
    """Forget what a user's deliveries said: bodies, and answers with metadata.

    Ids, digests, outcomes and reasons stay, none of which is personal.
    """
    mine = and_(_DELIVERIES.c.user_id == user_id, _DELIVERIES.c.instance_id == instance_id)
    connection.execute(update(_DELIVERIES).where(mine).values(body=None))
    connection.execute(
        update(_DELIVERIES)
        .where(mine, _DELIVERIES.c.reply_status == 200)
        .values(reply_status=204, reply_type="", reply_body="")
    )


def _to_row(delivery: Delivery) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "instance_id": delivery.instance_id,
        "event": delivery.event,
        "user_id": delivery.user_id,
        "issued_at": delivery.issued_at,
        "received_at": delivery.received_at,
        "path": delivery.path,
        "body": delivery.body,
        "body_digest": delivery.body_digest,
        "key_index": delivery.key_index,
        "outcome": delivery.outcome,
        "reasons": [[reason.rule, reason.text] for reason in delivery.reasons],
        "policy": delivery.policy,
        "reply_status": delivery.reply.status,
        "reply_type": delivery.reply.content_type,
        "reply_body": delivery.reply.body,
    }


def _to_delivery(row: Any) -> Delivery:
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
        outcome=row.outcome,
        reasons=tuple(Reason(rule, text) for rule, text in row.reasons),
        policy=row.policy,
        reply=Answer(row.reply_status, row.reply_type, row.reply_body),
        sequence=row.sequence,
    )
