"""The outbox for people: what waits, what failed for good, and who works on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from usher.core.domain.outbox import HANDLER, changes_of
from usher.core.domain.outbox_queue import State, Waiting
from usher.core.domain.outbox_view import AT_WORK, Filters, Led, Seen, Standing
from usher.core.domain.records import THE_SITE, AuditEntry, Delivery, Page, User
from usher.core.errors import ChangeNotFoundError, ConsumerAtWorkError, ConsumerNotFoundError
from usher.core.store.audit import to_entry
from usher.core.store.database import Database, Transaction, again_on_conflict
from usher.core.store.instances import Instances
from usher.core.store.keyset import Order, fetch
from usher.core.store.outbox import (
    MARK,
    lock_consumer,
    lock_shard,
    put_in_order,
    to_waiting,
    waiting_columns,
)
from usher.core.store.outbox_led import led_by_event, led_by_person
from usher.core.store.outbox_shards import Shard, after
from usher.core.store.sinks import all_sinks
from usher.core.store.tables import AUDIT, CONSUMERS, OUTBOX, SILENT
from usher.core.store.users import write_audit

RETRIED: Final = "outbox.retried"
SKIPPED: Final = "outbox.skipped"
FORGOTTEN: Final = "outbox.forgotten"
UNSEEN: Final = timedelta(days=30)
"""A consumer that no server works for so long is forgotten."""
MOST_COUNTED: Final = 1_000
"""Entries of a shard that a consumer has not come to are counted up to this."""
MOST_RETRIED: Final = 1_000
"""Dead letters that are retried in one transaction, which holds up the consumer."""
_IS_CHANGE: Final = OUTBOX.c.kind != MARK
_NEWEST: Final = Order("outbox", (OUTBOX.c.id,), (int,), descending=True)
_PLACE: Final = (OUTBOX.c.sequence, OUTBOX.c.part)
_WAITING, _DEAD, _DROPPED = (OUTBOX.c.state == state.value for state in State)


class Outbox:
    """The outbox of one database.

    Args:
        instances: say whose changes are shown.
        clock: gives the current time, UTC.
    """

    def __init__(
        self, database: Database, instances: Instances, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._instances = instances
        self._clock = clock

    def page(
        self, filters: Filters = Filters(), *, limit: int = 50, cursor: str | None = None
    ) -> Page[Waiting]:
        """One page of changes that were not handed over at once, the newest first.

        Raises:
            CursorInvalidError: the cursor is not one of this list.
        """
        within = [] if filters.state is None else [OUTBOX.c.state == filters.state.value]
        where: list[ColumnElement[bool]] = [_IS_CHANGE]
        if filters.consumer:
            where.append(OUTBOX.c.consumer == filters.consumer)
        if filters.user_id is not None:
            where.append(OUTBOX.c.user_id == filters.user_id)
        with self._database.read() as transaction:
            where.append(OUTBOX.c.instance_id == self._instances.shown(transaction))
            rows, following = fetch(
                transaction.sql,
                select(*waiting_columns()),
                _NEWEST,
                within=within,
                where=where,
                cursor=cursor,
                limit=limit,
            )
        return Page(tuple(map(to_waiting, rows)), following)

    def get(self, number: int) -> Seen:
        """One change that was not handed over at once, with what led to it.

        Raises:
            ChangeNotFoundError: there is none with this number.
        """
        with self._database.read() as transaction:
            sql = transaction.sql
            row = _find(sql, number)
            entry = sql.execute(select(AUDIT).where(AUDIT.c.sequence == row.sequence)).first()
            changes = () if entry is None else changes_of(to_entry(entry))
            change = next((each for each in changes if each.id == row.change_id), None)
            first = select(OUTBOX.c.id).where(*_same_person(row), _WAITING).order_by(*_PLACE)
            first_id = sql.execute(first.limit(1)).scalar()
            return Seen(row, change, first_id if row.is_waiting and first_id != row.id else None)

    def led_by_event(self, delivery: Delivery) -> list[Led]:
        """The changes that a delivery led to, in order."""
        with self._database.read() as transaction:
            return led_by_event(transaction, delivery)

    def led_by_person(self, user: User, *, limit: int = 50, cursor: str | None = None) -> Page[Led]:
        """The changes of a page of somebody's audit, the newest first.

        Raises:
            CursorInvalidError: the cursor is not one of this list.
        """
        with self._database.read() as transaction:
            return led_by_person(transaction, user.instance_id, user.id, limit, cursor)

    def retry(self, number: int, actor: str, reason: str = "") -> Waiting:
        """Hand a change over as soon as can be, with all its attempts before it.

        Raises:
            ChangeNotFoundError: there is none with this number.
        """
        return again_on_conflict(lambda: self._retry(number, actor, reason))

    def retry_dead(self, consumer: str, actor: str, reason: str = "") -> tuple[int, bool]:
        """Retry the dead letters of a consumer, the oldest first, some at a time.

        Returns:
            How many are retried, and whether there are more.

        Raises:
            ConsumerNotFoundError: none has this name.
        """
        return again_on_conflict(lambda: self._retry_dead(consumer, actor, reason))

    def skip(self, number: int, actor: str, reason: str = "") -> Waiting:
        """Never hand a change over; those behind it go on.

        Raises:
            ChangeNotFoundError: there is none with this number.
        """
        return again_on_conflict(lambda: self._skip(number, actor, reason))

    def forget(self, consumer: str, actor: str, reason: str = "") -> int:
        """Forget a handler that there is no more, with all that waits for it; how many changes.

        Where there is one after all, it begins anew with what comes from then on.

        Raises:
            ConsumerNotFoundError: none has this name, or it is a sink, which is removed instead.
            ConsumerAtWorkError: a server works for it.
        """
        return again_on_conflict(lambda: self._forget(consumer, actor, reason))

    def _forget(self, consumer: str, actor: str, reason: str) -> int:
        known = select(CONSUMERS).where(CONSUMERS.c.name == consumer)
        now = self._clock()
        with self._database.write() as transaction:
            sql = transaction.sql
            lock_consumer(transaction, consumer)
            shards = [Shard(*row) for row in sql.execute(known)]
            if not consumer.startswith(HANDLER) or not shards:
                raise ConsumerNotFoundError(consumer, forgets=True)
            if any(_is_at_work(shard, now) for shard in shards):
                raise ConsumerAtWorkError(consumer)
            count = sql.execute(delete(OUTBOX).where(OUTBOX.c.consumer == consumer)).rowcount
            sql.execute(delete(CONSUMERS).where(CONSUMERS.c.name == consumer))
            after = {"consumer": consumer, "count": count}
            shown = self._instances.shown(transaction)
            self._tell(transaction, FORGOTTEN, actor, shown, after, reason)
        return count

    def _retry(self, number: int, actor: str, reason: str) -> Waiting:
        with self._database.write() as transaction:
            row = _locked(transaction, number)
            self._try_again(transaction, [row])
            self._note(transaction, RETRIED, actor, row, reason)
            return _find(transaction.sql, number)

    def _retry_dead(self, consumer: str, actor: str, reason: str) -> tuple[int, bool]:
        dead = select(*waiting_columns()).where(_DEAD, OUTBOX.c.consumer == consumer)
        oldest = dead.order_by(OUTBOX.c.id).limit(MOST_RETRIED + 1)
        known = select(CONSUMERS.c.name).where(CONSUMERS.c.name == consumer)
        with self._database.write() as transaction:
            lock_consumer(transaction, consumer)
            if transaction.sql.execute(known).first() is None:
                raise ConsumerNotFoundError(consumer)
            rows = [to_waiting(row) for row in transaction.sql.execute(oldest)]
            chosen = rows[:MOST_RETRIED]
            if chosen:
                self._try_again(transaction, chosen)
                after = {"consumer": consumer, "count": len(chosen)}
                self._tell(transaction, RETRIED, actor, chosen[0].instance_id, after, reason)
        return len(chosen), len(rows) > len(chosen)

    def _try_again(self, transaction: Transaction, rows: Sequence[Waiting]) -> None:
        now = self._clock()
        values = {"state": State.WAITING.value, "tries": 0, "due_at": now}
        mine = OUTBOX.c.id.in_([row.id for row in rows])
        transaction.sql.execute(update(OUTBOX).where(mine).values(values))
        put_in_order(transaction, rows[0].consumer, {row.key for row in rows}, now)

    def _skip(self, number: int, actor: str, reason: str) -> Waiting:
        with self._database.write() as transaction:
            row = _locked(transaction, number)
            transaction.sql.execute(delete(OUTBOX).where(OUTBOX.c.id == number))
            put_in_order(transaction, row.consumer, [row.key], self._clock())
            self._note(transaction, SKIPPED, actor, row, reason)
        return row

    def standings(self) -> list[Standing]:
        """How things stand with each consumer, by name."""
        with self._database.read() as transaction:
            sql = transaction.sql
            shards: dict[str, list[Any]] = {}
            for row in sql.execute(select(CONSUMERS).order_by(CONSUMERS.c.name)):
                shards.setdefault(row.name, []).append(row)
            count = func.count
            rows = sql.execute(
                select(
                    OUTBOX.c.consumer,
                    count().filter(_WAITING),
                    count().filter(_DEAD),
                    func.min(OUTBOX.c.at).filter(_WAITING),
                ).group_by(OUTBOX.c.consumer)
            )
            counted = {row[0]: row[1:] for row in rows}
            paused = {sink.consumer for sink in all_sinks(transaction) if sink.paused_at}
            return [
                _standing(sql, name, parts, counted.get(name, (0, 0, None)), name in paused)
                for name, parts in shards.items()
            ]

    def prune(self, before: datetime, step: int) -> int:
        """Remove what is past its time.

        That is changes from before a time that are no longer tried, and consumers that no server
        works for any more, with all their rows.

        Returns:
            The number of changes removed; fewer than ``step``: none is left.
        """
        past = and_(
            OUTBOX.c.state.in_((State.DEAD.value, State.DROPPED.value)), OUTBOX.c.at < before
        )
        unseen = func.max(CONSUMERS.c.seen_at) < self._clock() - UNSEEN
        named = select(CONSUMERS.c.name).group_by(CONSUMERS.c.name).having(unseen)
        with self._database.write() as transaction:
            sql = transaction.sql
            for name in sorted(sql.execute(named).scalars()):
                lock_consumer(transaction, name)
            names = sql.execute(named).scalars().all()  # none that a server came back to meanwhile
            old = or_(past, OUTBOX.c.consumer.in_(names))
            oldest = select(OUTBOX.c.id).where(old).order_by(OUTBOX.c.id).limit(step)
            numbers = sql.execute(oldest).scalars().all()
            if numbers:
                sql.execute(delete(OUTBOX).where(OUTBOX.c.id.in_(numbers)))
            if len(numbers) < step and names:
                sql.execute(delete(CONSUMERS).where(CONSUMERS.c.name.in_(names)))
            first = select(func.min(AUDIT.c.sequence)).scalar_subquery()
            sql.execute(delete(SILENT).where(SILENT.c.sequence < first))
        return len(numbers)

    def _note(
        self, transaction: Transaction, action: str, actor: str, row: Waiting, reason: str
    ) -> None:
        after = {
            "consumer": row.consumer,
            "change_id": row.change_id,
            "kind": row.kind,
            "user_id": str(row.user_id),
        }
        self._tell(transaction, action, actor, row.instance_id, after, reason)

    def _tell(
        self,
        transaction: Transaction,
        action: str,
        actor: str,
        instance_id: UUID,
        after: Mapping[str, Any],
        reason: str,
    ) -> None:
        """Tell the audit; the entry is the site's own."""
        now = self._clock()
        entry = AuditEntry(action, actor, instance_id, THE_SITE, now, {}, after, reason)
        write_audit(transaction, [entry])


def first_needed(connection: Connection, now: datetime) -> int | None:
    """The number of the first entry of the audit that is still needed; None: there is no entry.

    The newest one always is: SQLite would give its number once more.
    """
    alive = select(CONSUMERS).where(CONSUMERS.c.seen_at >= now - UNSEEN)
    sequence = AUDIT.c.sequence
    statements = [select(func.max(sequence)), select(func.min(OUTBOX.c.sequence)).where(_WAITING)]
    for row in connection.execute(alive):
        following = select(sequence).where(*after(Shard(*row))).order_by(sequence).limit(1)
        statements.append(following)
    firsts = (connection.execute(statement).scalar() for statement in statements)
    return min((first for first in firsts if first is not None), default=None)


def mark_silent(connection: Connection, entry: AuditEntry) -> None:
    """Tell nobody of an act that was just written to the audit."""
    newest = select(func.max(AUDIT.c.sequence)).where(
        AUDIT.c.instance_id == entry.instance_id,
        AUDIT.c.user_id == entry.user_id,
        AUDIT.c.at == entry.at,
    )
    sequence = connection.execute(newest).scalar_one()
    connection.execute(insert(SILENT).values(sequence=sequence))


def _is_at_work(shard: Shard, now: datetime) -> bool:
    """Whether a server works on a shard, or did lately; one call of it may take longer."""
    return now - shard.seen_at < AT_WORK or (shard.lease is not None and now < shard.lease_until)


def _find(connection: Connection, number: int) -> Waiting:
    one = select(*waiting_columns()).where(OUTBOX.c.id == number, _IS_CHANGE)
    row = connection.execute(one).first()
    if row is None:
        raise ChangeNotFoundError(
            f"No change in the outbox has the number {number}. It may have been handed over."
        )
    return to_waiting(row)


def _same_person(row: Waiting) -> tuple[ColumnElement[bool], ...]:
    return (
        OUTBOX.c.instance_id == row.instance_id,
        OUTBOX.c.user_id == row.user_id,
        OUTBOX.c.consumer == row.consumer,
    )


def _locked(transaction: Transaction, number: int) -> Waiting:
    """A row, once no dispatcher can keep anything of its shard."""
    row = _find(transaction.sql, number)
    lock_shard(transaction, row.consumer, row.user_id)
    return _find(transaction.sql, number)


def _standing(
    connection: Connection,
    name: str,
    shards: Sequence[Any],
    counted: Sequence[Any],
    paused: bool,
) -> Standing:
    waiting, dead, oldest_at = counted
    behind = 0
    for shard in shards:
        some = select(AUDIT.c.at).where(*after(Shard(*shard))).order_by(AUDIT.c.sequence)
        found = some.limit(MOST_COUNTED).subquery()
        number, at = connection.execute(select(func.count(), func.min(found.c.at))).one()
        behind += number
        oldest_at = min((one for one in (oldest_at, at) if one is not None), default=None)
    seen_at = max(shard.seen_at for shard in shards)
    return Standing(name, behind, waiting, dead, oldest_at, seen_at, paused)
