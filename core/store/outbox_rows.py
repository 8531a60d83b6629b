"""The outbox for people: what waits, what failed for good, and who works on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from usher.core.domain.outbox_queue import State, Waiting
from usher.core.domain.records import THE_SITE, AuditEntry, Page
from usher.core.errors import ChangeNotFoundError
from usher.core.store.database import Database, Transaction
from usher.core.store.instances import Instances
from usher.core.store.keyset import Order, fetch
from usher.core.store.outbox import (
    Shard,
    after,
    lock_shard,
    put_in_order,
    to_waiting,
    waiting_columns,
)
from usher.core.store.tables import AUDIT, CONSUMERS, OUTBOX, SILENT
from usher.core.store.users import write_audit

RETRIED: Final = "outbox.retried"
SKIPPED: Final = "outbox.skipped"
UNSEEN: Final = timedelta(days=30)
"""A consumer that no server works for so long is forgotten."""
MOST_COUNTED: Final = 10_000
_NEWEST: Final = Order("outbox", (OUTBOX.c.id,), (int,), descending=True)
_WAITING, _DEAD, _DROPPED = (OUTBOX.c.state == state.value for state in State)


class Filters(Struct, frozen=True):
    """Filters of a list of changes; None or empty: no filter."""

    state: State | None = None
    consumer: str = ""
    user_id: UUID | None = None


class Standing(Struct, frozen=True):
    """How things stand with one consumer.

    Attributes:
        behind: entries of the audit that it has not come to yet, ``MOST_COUNTED`` a shard at most.
        waiting, dead: its changes that wait, and its dead letters.
        oldest_at: the time of the oldest change that waits, here or in the audit.
        seen_at: when a server worked for it last.
    """

    name: str
    behind: int
    waiting: int
    dead: int
    oldest_at: datetime | None
    seen_at: datetime


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
        where: list[ColumnElement[bool]] = []
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

    def get(self, number: int) -> Waiting:
        """One change that was not handed over at once.

        Raises:
            ChangeNotFoundError: there is none with this number.
        """
        with self._database.read() as transaction:
            return _find(transaction.sql, number)

    def retry(self, number: int, actor: str) -> Waiting:
        """Hand a change over as soon as can be, with all its attempts before it.

        Raises:
            ChangeNotFoundError: there is none with this number.
        """
        with self._database.write() as transaction:
            row = _locked(transaction, number)
            values = {"state": State.WAITING.value, "tries": 0, "due_at": self._clock()}
            transaction.sql.execute(update(OUTBOX).where(OUTBOX.c.id == number).values(values))
            self._note(transaction, RETRIED, actor, row)
            return _find(transaction.sql, number)

    def retry_dead(self, consumer: str, actor: str) -> int:
        """Retry all dead letters of a consumer; how many."""
        dead = select(OUTBOX.c.id).where(_DEAD, OUTBOX.c.consumer == consumer)
        with self._database.read() as transaction:
            numbers = transaction.sql.execute(dead.order_by(OUTBOX.c.id)).scalars().all()
        for number in numbers:
            self.retry(number, actor)
        return len(numbers)

    def skip(self, number: int, actor: str) -> Waiting:
        """Never hand a change over; those behind it go on.

        Raises:
            ChangeNotFoundError: there is none with this number.
        """
        with self._database.write() as transaction:
            row = _locked(transaction, number)
            transaction.sql.execute(delete(OUTBOX).where(OUTBOX.c.id == number))
            self._note(transaction, SKIPPED, actor, row)
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
            return [
                _standing(sql, name, parts, counted.get(name, (0, 0, None)))
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
        last_seen = func.max(CONSUMERS.c.seen_at)
        unseen = last_seen < self._clock() - UNSEEN
        with self._database.write() as transaction:
            sql = transaction.sql
            named = select(CONSUMERS.c.name).group_by(CONSUMERS.c.name).having(unseen)
            names = sql.execute(named).scalars().all()
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

    def _note(self, transaction: Transaction, action: str, actor: str, row: Waiting) -> None:
        """Put the person's rows in order, and tell the audit; the entry is the site's own."""
        now = self._clock()
        put_in_order(transaction, row.consumer, [row.key], now)
        after = {
            "consumer": row.consumer,
            "change_id": row.change_id,
            "kind": row.kind,
            "user_id": str(row.user_id),
        }
        entry = AuditEntry(action, actor, row.instance_id, THE_SITE, now, {}, after)
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


def _find(connection: Connection, number: int) -> Waiting:
    row = connection.execute(select(*waiting_columns()).where(OUTBOX.c.id == number)).first()
    if row is None:
        raise ChangeNotFoundError(
            f"No change in the outbox has the number {number}. It may have been handed over."
        )
    return to_waiting(row)


def _locked(transaction: Transaction, number: int) -> Waiting:
    """A row, once no dispatcher can keep anything of its shard."""
    row = _find(transaction.sql, number)
    lock_shard(transaction, row.consumer, row.user_id)
    return _find(transaction.sql, number)


def _standing(
    connection: Connection, name: str, shards: Sequence[Any], counted: Sequence[Any]
) -> Standing:
    waiting, dead, oldest_at = counted
    behind = 0
    for shard in shards:
        some = (
            select(AUDIT.c.at)
            .where(*after(Shard(*shard)))
            .order_by(AUDIT.c.sequence)
            .limit(MOST_COUNTED)
        )
        found = some.subquery()
        number, at = connection.execute(select(func.count(), func.min(found.c.at))).one()
        behind += number
        oldest_at = min((one for one in (oldest_at, at) if one is not None), default=None)
    seen_at = max(shard.seen_at for shard in shards)
    return Standing(name, behind, waiting, dead, oldest_at, seen_at)
