"""The ledger: every delivery with a good signature, its outcome, reasons and reply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    func,
    select,
    update,
)

from usher.core.domain.policy import Reason
from usher.core.domain.records import ERASED, RECORD_REMOVED, Decision, Delivery, Outcome, Page
from usher.core.domain.reply import Reply
from usher.core.errors import DeliveryNotFoundError, DeniedError
from usher.core.store.bulk_insert import BulkInsert
from usher.core.store.counters import Counted, Counters
from usher.core.store.database import Database
from usher.core.store.instances import Instances, instances_in
from usher.core.store.keyset import MAX_PAGE, Order, fetch
from usher.core.store.tables import DeliveryRow

MIN_PREFIX: Final = 6
IMPORTED: Final = -1
"""``key_index`` of a delivery that none of our secrets verified: it came in a file."""

_REMOVED: Final = Reason(
    RECORD_REMOVED, "the pending record never became an account; personal data erased"
)
_DELIVERIES: Final[Table] = DeliveryRow.__table__  # type: ignore[attr-defined]
_INSERT = BulkInsert(_DELIVERIES)
_REPLIES = select(
    _DELIVERIES.c.id,
    _DELIVERIES.c.reply_status,
    _DELIVERIES.c.reply_type,
    _DELIVERIES.c.reply_body,
    _DELIVERIES.c.key_index,
    _DELIVERIES.c.outcome,
    _DELIVERIES.c.instance_id,
    _DELIVERIES.c.event,
    _DELIVERIES.c.received_at,
).where(_DELIVERIES.c.id.in_(bindparam("ids", expanding=True)))
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
_NEWEST_SEQUENCE = select(func.max(_DELIVERIES.c.sequence))
_NEWEST = Order(
    "received", (_DELIVERIES.c.received_at, _DELIVERIES.c.sequence), (datetime, int), True
)


class DeliveryFilters(Struct, frozen=True):
    """Filters of a list of deliveries; None or empty: no filter. ``until`` is excluded."""

    event: str = ""
    outcome: str = ""
    user_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None


class Known(Struct, frozen=True):
    """The deliveries of a batch that the ledger has already.

    Attributes:
        replies: the stored replies by delivery id.
        superseded: failed and imported deliveries that were removed, for they are decided now.
    """

    replies: dict[str, Reply]
    superseded: tuple[Counted, ...]


class Ledger:
    """Records and finds deliveries.

    Args:
        instances: say whose deliveries are shown.
    """

    def __init__(self, database: Database, instances: Instances) -> None:
        self._database = database
        self._instances = instances

    def known(self, connection: Connection, ids: Iterable[str]) -> Known:
        """The stored replies to deliveries that come again; unknown ids are left out.

        An imported delivery counts as unknown, since its reply is what a file says. So does a
        failed one, which has no good reply. Their rows are removed.
        """
        rows = connection.execute(_REPLIES, {"ids": list(ids)}).all()
        open_ = [row for row in rows if _is_open(row)]
        if not open_:
            return Known({row[0]: Reply(row[1], row[2], row[3]) for row in rows}, ())
        removed = _DELIVERIES.c.id.in_([row.id for row in open_])
        connection.execute(delete(_DELIVERIES).where(removed))
        return Known(
            {row[0]: Reply(row[1], row[2], row[3]) for row in rows if not _is_open(row)},
            tuple(
                Counted(row.instance_id, row.received_at, row.event, row.outcome) for row in open_
            ),
        )

    def record(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries in their order of arrival.

        Raises:
            IntegrityError: an id is known. The transaction raises it as a ConflictError.
        """
        _INSERT.execute(connection, [_to_row(delivery) for delivery in deliveries])

    def add(self, deliveries: Sequence[Delivery]) -> int:
        """Import deliveries of another ledger; users are not touched.

        Returns:
            The number of new deliveries; known ones are left as they are.

        Raises:
            ConflictError: another writer added one of them first.
        """
        with self._database.write() as connection:
            rows = connection.execute(_REPLIES, {"ids": [delivery.id for delivery in deliveries]})
            known = {row.id for row in rows}
            new = {
                each.id: replace(each, key_index=IMPORTED)
                for each in deliveries
                if each.id not in known
            }
            self.record(connection, list(new.values()))
            counters = Counters()
            counters.count_deliveries(list(new.values()))
            counters.write(connection)
        return len(new)

    def prune(self, before: datetime, *, step: int = 1_000) -> int:
        """Remove deliveries of any instance from before a time, in one transaction.

        Args:
            step: deliveries at most, so that no writer waits for long.

        Returns:
            The number removed; fewer than ``step`` means that none is left.
        """
        found: list[int] = []
        with self._database.write() as connection:
            for instance_id in list(instances_in(connection, _DELIVERIES)):
                oldest = (
                    select(_DELIVERIES.c.sequence)
                    .where(
                        _DELIVERIES.c.instance_id == instance_id,
                        _DELIVERIES.c.received_at < before,
                    )
                    .order_by(_DELIVERIES.c.received_at)
                    .limit(step - len(found))
                )
                found += connection.execute(oldest).scalars()
            if found:
                gone = _DELIVERIES.c.sequence.in_(found)
                connection.execute(delete(_DELIVERIES).where(gone))
        return len(found)

    def find(self, prefix: str, *, of_any: bool = False) -> Delivery:
        """The one delivery whose id begins with ``prefix``.

        Args:
            of_any: of any instance, also of those whose events are not ours.

        Raises:
            DeliveryNotFoundError: the prefix is too short, or fits no delivery or several.
        """
        if len(prefix) < MIN_PREFIX or not prefix.isprintable():
            raise DeliveryNotFoundError(f"Give at least {MIN_PREFIX} characters of the event's id.")
        wanted = [_DELIVERIES.c.id >= prefix, _DELIVERIES.c.id < prefix + "~"]
        with self._database.read() as connection:
            if not of_any:
                wanted.append(_DELIVERIES.c.instance_id == self._instances.shown(connection))
            found = select(_DELIVERIES).where(*wanted).order_by(_DELIVERIES.c.id).limit(2)
            rows = connection.execute(found).all()
        if not rows:
            raise DeliveryNotFoundError(f"No event's id begins with {prefix[:72]!r}.")
        if len(rows) > 1:
            raise DeliveryNotFoundError(
                f"Several events' ids begin with {prefix[:72]!r}; give more characters."
            )
        return to_delivery(rows[0])

    def newest_sequence(self) -> int:
        """The ``sequence`` of the newest delivery; 0 before the first."""
        with self._database.read() as connection:
            return newest_sequence(connection)

    def denied_after(self, sequence: int) -> list[Delivery]:
        """The denied deliveries after the one of this ``sequence``, the newest first."""
        columns = _DELIVERIES.c
        denied = (
            select(_DELIVERIES)
            .where(columns.sequence > sequence, columns.outcome == Outcome.DENIED.value)
            .order_by(columns.sequence.desc())
            .limit(MAX_PAGE)
        )
        with self._database.read() as connection:
            return [to_delivery(row) for row in connection.execute(denied)]

    def refusal(self, address_key: str, after: datetime) -> str:
        """The newest sentence with which the policy refused this address; empty: it did not.

        Only what Identity sent and was answered counts, no replay and no import.

        Args:
            address_key: as ``usher.core.domain.events.address_key`` makes it.
            after: deliveries received later than this count.
        """
        with self._database.read() as connection:
            instance_id = self._instances.shown(connection)
            values = {"instance_id": instance_id, "address_key": address_key, "after": after}
            row = connection.execute(_REFUSAL, values).first()
        return Reply(row[0], row[1], row[2]).refusal if row else ""

    def page(
        self,
        filters: DeliveryFilters = DeliveryFilters(),
        *,
        limit: int = 50,
        cursor: str | None = None,
        instance_id: UUID | None = None,
    ) -> Page[Delivery]:
        """One page of deliveries by time of receipt, the newest first.

        Args:
            instance_id: whose; None: those of the instance in use.
            limit: rows at most, between 1 and ``keyset.MAX_PAGE``.
            cursor: ``next_cursor`` of the page before; None: the first page.

        Raises:
            CursorInvalidError: the cursor is not one of this list.
        """
        columns = _DELIVERIES.c
        with self._database.read() as connection:
            whose = self._instances.shown(connection) if instance_id is None else instance_id
            within = [columns.instance_id == whose]
            within += conditions(replace(filters, event="", outcome=""))
            where = conditions(DeliveryFilters(event=filters.event, outcome=filters.outcome))
            rows, following = fetch(
                connection,
                select(_DELIVERIES),
                _NEWEST,
                within=within,
                where=where,
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


def _is_open(row: Any) -> bool:
    """Whether a delivery that comes again is decided, and not answered from its row."""
    return bool(
        row.key_index == IMPORTED or row.outcome == Outcome.FAILED.value or row.reply_status >= 500
    )


def newest_sequence(connection: Connection) -> int:
    """The ``sequence`` of the newest delivery; 0 before the first."""
    return connection.execute(_NEWEST_SEQUENCE).scalar() or 0


def erase_deliveries(connection: Connection, instance_id: UUID, user_id: UUID) -> None:
    """Erase bodies and addresses of a user's deliveries, and what else of them may be personal.

    These are replies that hold metadata, and the messages of failures. Ids, digests, outcomes and
    other reasons stay.
    """
    mine = and_(_DELIVERIES.c.user_id == user_id, _DELIVERIES.c.instance_id == instance_id)
    connection.execute(update(_DELIVERIES).where(mine).values(body=None, address_key=None))
    connection.execute(
        update(_DELIVERIES)
        .where(mine, _DELIVERIES.c.reply_status == 200)
        .values(reply_status=204, reply_type="", reply_body="")
    )
    connection.execute(
        update(_DELIVERIES)
        .where(mine, _DELIVERIES.c.outcome == Outcome.FAILED.value)
        .values(reasons=[[ERASED.rule, ERASED.text]])
    )


def settle(connection: Connection, failed: Delivery, decision: Decision, fingerprint: str) -> None:
    """Note what a failed delivery came to when it was decided again by hand.

    Its reply stays: Identity got no other. Nothing happens where it has come again meanwhile.

    Args:
        fingerprint: of the policy that decided.
    """
    settled = replace(
        failed, outcome=decision.outcome, reasons=decision.reasons, policy=fingerprint
    )
    written = connection.execute(
        update(_DELIVERIES)
        .where(_DELIVERIES.c.id == failed.id, _DELIVERIES.c.outcome == Outcome.FAILED.value)
        .values({name: _to_row(settled)[name] for name in ("outcome", "reasons", "policy")})
    )
    if written.rowcount:
        counters = Counters()
        counters.count_deliveries([settled], superseded=[failed])
        counters.write(connection)


def note_removal(connection: Connection, instance_id: UUID, user_id: UUID) -> None:
    """Note in a user's deliveries that the record was removed, so that no replay buries it."""
    mine = and_(_DELIVERIES.c.user_id == user_id, _DELIVERIES.c.instance_id == instance_id)
    rows = connection.execute(select(_DELIVERIES.c.sequence, _DELIVERIES.c.reasons).where(mine))
    note = [_REMOVED.rule, _REMOVED.text]
    for sequence, reasons in rows.all():
        if note not in reasons:
            delivery = update(_DELIVERIES).where(_DELIVERIES.c.sequence == sequence)
            connection.execute(delivery.values(reasons=[*reasons, note]))


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
        "outcome": delivery.outcome.value,
        "reasons": [[reason.rule, reason.text] for reason in delivery.reasons],
        "policy": delivery.policy,
        "origin": delivery.origin,
        "reply_status": delivery.reply.status,
        "reply_type": delivery.reply.content_type,
        "reply_body": delivery.reply.body,
        "address_key": delivery.address_key or None,
    }


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
