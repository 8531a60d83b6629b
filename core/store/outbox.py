"""The queue of each consumer as rows: its positions in the audit, and the changes that wait.

Every transaction that changes a consumer's rows of ``outbox`` holds the lock of its row for that
shard. So an administrator's act and a dispatcher's work never cross, and of a person's waiting
rows the first one, and no other, has a time at which it is due.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct, field, structs
from sqlalchemy import (
    ColumnElement,
    delete,
    exists,
    func,
    insert,
    select,
    tuple_,
    update,
)

from usher.core.domain.outbox import Kind
from usher.core.domain.outbox_queue import Found, State, Waiting, cause_of
from usher.core.domain.outbox_shards import shard_of
from usher.core.domain.records import AuditEntry, Key, Status, User
from usher.core.store.audit import to_entry
from usher.core.store.database import Transaction, again_on_conflict
from usher.core.store.outbox_shards import WAITS, Shard, Shards, after, is_shard, values_of
from usher.core.store.sizes import fitting
from usher.core.store.tables import AUDIT, CONSUMERS, DELIVERIES, OUTBOX, SILENT, USERS
from usher.core.store.users import find_by_ids

MARK: Final = ""
"""The kind of a row that stands for later changes of its person."""
_FIELDS: Final = tuple(Waiting.__struct_fields__)


class LeaseLostError(Exception):
    """Another server works on the shard by now; nothing was kept."""


class Entries(Struct, frozen=True):
    """Entries of the audit, with all that is needed to plan them.

    Attributes:
        people: the records of their users.
        waiting: users who have waiting rows, and how many.
        marked: those with a mark among them.
        failing: waiting rows of the shard that have failed.
        full: whether more may follow.
    """

    found: tuple[Found, ...]
    people: Mapping[Key, User]
    waiting: Mapping[Key, int]
    marked: frozenset[Key]
    failing: int
    full: bool


class Moves(Struct):
    """All that is to be kept at once.

    Attributes:
        added: new rows.
        changed: rows as they are now.
        removed: the ids of rows that are done.
        replaced: users whose waiting rows give way to ``user.deleted``.
    """

    added: list[Waiting] = field(default_factory=list)
    changed: list[Waiting] = field(default_factory=list)
    removed: list[Waiting] = field(default_factory=list)
    replaced: set[Key] = field(default_factory=set)

    def users(self) -> set[Key]:
        """The users whose rows change."""
        return {row.key for row in (*self.added, *self.changed, *self.removed)} | self.replaced


class Queue(Shards):
    """The queues of one database, for dispatchers."""

    def due(
        self, shard: Shard, now: datetime, limit: int
    ) -> tuple[Sequence[Waiting], Mapping[int, Found], Mapping[Key, User]]:
        """Rows that are due, their entries of the audit by sequence, and their users.

        Of those with large entries there are a few.
        """
        statement = (
            select(*waiting_columns())
            .where(
                OUTBOX.c.consumer == shard.name,
                OUTBOX.c.shard == shard.shard,
                OUTBOX.c.due_at <= now,
                WAITS,
            )
            .order_by(OUTBOX.c.due_at, OUTBOX.c.id)
            .limit(limit)
        )
        with self._database.read() as transaction:
            rows = [to_waiting(row) for row in transaction.sql.execute(statement)]
            wanted = sorted({row.sequence for row in rows if not row.is_mark})
            within = [AUDIT.c.sequence.in_(wanted)]
            most = fitting(transaction.sql, within, len(wanted), people=True) if wanted else 0
            found = _found(transaction, within, most) if wanted else []
            if most < len(wanted):
                last = found[-1].entry.sequence or 0
                rows = [row for row in rows if row.is_mark or row.sequence <= last]
            keys = {(each.entry.instance_id, each.entry.user_id) for each in found}
            people = people_of(transaction, keys)
        return rows, {each.entry.sequence or 0: each for each in found}, people

    def page(self, shard: Shard, up_to: int, limit: int) -> Entries:
        """The entries after the place of a shard, the oldest first.

        One of which only some changes are done is among them.

        Args:
            up_to: the last one that may be given.
        """
        within = [*after(shard), AUDIT.c.sequence <= up_to]
        rows = OUTBOX.c.consumer == shard.name, OUTBOX.c.shard == shard.shard, WAITS
        failing = select(func.count()).where(*rows, OUTBOX.c.tries > 0)
        with self._database.read() as transaction:
            most = fitting(transaction.sql, within, limit, people=True)
            found = _found(transaction, within, most)
            keys = {(each.entry.instance_id, each.entry.user_id) for each in found}
            ids = {user_id for _, user_id in keys}
            user = OUTBOX.c.instance_id, OUTBOX.c.user_id
            counts = select(*user, func.count(), func.min(OUTBOX.c.kind)).where(*rows)
            waiting = transaction.sql.execute(
                counts.where(OUTBOX.c.user_id.in_(ids)).group_by(*user)
            ).all()
            return Entries(
                tuple(found),
                people_of(transaction, keys),
                {(row[0], row[1]): row[2] for row in waiting},
                frozenset((row[0], row[1]) for row in waiting if row[3] == MARK),
                transaction.sql.execute(failing).scalar_one(),
                len(found) == most,
            )

    def behind(self, mark: Waiting, up_to: int, limit: int) -> tuple[Sequence[Found], int | None]:
        """The entries of a mark's person from the mark on, the oldest first.

        Args:
            up_to: the last one that may be given.

        Returns:
            Them, and the number of the first one that is left; None: none is.
        """
        within = (
            AUDIT.c.instance_id == mark.instance_id,
            AUDIT.c.user_id == mark.user_id,
            AUDIT.c.sequence.between(mark.sequence, up_to),
        )
        ordered = select(AUDIT.c.sequence).where(*within).order_by(AUDIT.c.sequence)
        with self._database.read() as transaction:
            most = fitting(transaction.sql, within, limit)
            left = transaction.sql.execute(ordered.offset(most).limit(1)).scalar()
            return _found(transaction, within, most), left

    def keep(
        self,
        before: Shard,
        after: Shard,
        moves: Moves,
        write: Callable[[Transaction], object] | None = None,
    ) -> None:
        """Keep what was done since the last time, by compare-and-set of lease and position.

        Args:
            write: what a handler writes, in the same transaction, before anything else.

        Raises:
            LeaseLostError: another server works on the shard by now; nothing is kept.
        """
        again_on_conflict(lambda: self._keep(before, after, moves, write))

    def _keep(
        self,
        before: Shard,
        after: Shard,
        moves: Moves,
        write: Callable[[Transaction], object] | None,
    ) -> None:
        now = after.seen_at
        with self._database.write() as transaction:
            if write is not None:
                write(transaction)
            same = (
                CONSUMERS.c.lease == before.lease,
                CONSUMERS.c.position == before.position,
                CONSUMERS.c.part == before.part,
            )
            moved = update(CONSUMERS).where(*is_shard(before), *same).values(values_of(after))
            if transaction.sql.execute(moved).rowcount != 1:
                raise LeaseLostError
            users = moves.users()
            if users:
                _move(transaction, before, moves)
                if any(row.error for row in (*moves.added, *moves.changed)):
                    _forget_words(transaction, before.name, users)
                put_in_order(transaction, before.name, users, now)


def put_in_order(
    transaction: Transaction, consumer: str, users: Iterable[Key], now: datetime
) -> None:
    """See to it that of these users' waiting rows the first one is due at some time, alone."""
    other = OUTBOX.alias()
    earlier = exists().where(
        other.c.consumer == OUTBOX.c.consumer,
        other.c.instance_id == OUTBOX.c.instance_id,
        other.c.user_id == OUTBOX.c.user_id,
        other.c.state == State.WAITING.value,
        tuple_(other.c.sequence, other.c.part) < tuple_(OUTBOX.c.sequence, OUTBOX.c.part),
    )
    for mine in _rows_of(consumer, users):
        rows = update(OUTBOX).where(*mine, WAITS)
        behind = rows.where(OUTBOX.c.due_at.is_not(None), earlier)
        first = rows.where(OUTBOX.c.due_at.is_(None), ~earlier)
        transaction.sql.execute(behind.values(due_at=None))
        transaction.sql.execute(first.values(due_at=now))


def lock_shard(transaction: Transaction, consumer: str, user_id: UUID) -> None:
    """Wait until no dispatcher can keep anything of a user's shard, to the end of this one."""
    mine = CONSUMERS.c.name == consumer, CONSUMERS.c.shard == shard_of(user_id)
    transaction.sql.execute(select(CONSUMERS.c.shard).where(*mine).with_for_update())


def lock_consumer(transaction: Transaction, consumer: str) -> None:
    """As ``lock_shard`` for all shards of a consumer."""
    mine = select(CONSUMERS.c.shard).where(CONSUMERS.c.name == consumer)
    transaction.sql.execute(mine.order_by(CONSUMERS.c.shard).with_for_update())


def to_waiting(row: Any) -> Waiting:
    """A row of the outbox."""
    values = dict(zip(_FIELDS, row, strict=True))
    return Waiting(**values | {"state": State(values["state"])})


def waiting_columns() -> list[ColumnElement[Any]]:
    """The columns that ``to_waiting`` takes, in order."""
    return [OUTBOX.c[name] for name in _FIELDS]


def _move(transaction: Transaction, shard: Shard, moves: Moves) -> None:
    sql = transaction.sql
    if moves.removed:
        sql.execute(delete(OUTBOX).where(OUTBOX.c.id.in_([row.id for row in moves.removed])))
    for mine in _rows_of(shard.name, moves.replaced):
        sql.execute(delete(OUTBOX).where(*mine, WAITS))
    for row in moves.changed:
        sql.execute(update(OUTBOX).where(OUTBOX.c.id == row.id).values(_row(row)))
    if moves.added:
        sql.execute(insert(OUTBOX), [_row(row) for row in moves.added])


def _forget_words(transaction: Transaction, consumer: str, users: Iterable[Key]) -> None:
    """Keep no error that came after the person's erasure, but for those of the deletion itself."""
    deleted = exists().where(
        USERS.c.instance_id == OUTBOX.c.instance_id,
        USERS.c.id == OUTBOX.c.user_id,
        USERS.c.status == Status.DELETED.value,
    )
    for mine in _rows_of(consumer, users):
        late = update(OUTBOX).where(*mine, OUTBOX.c.kind != Kind.USER_DELETED.value, deleted)
        transaction.sql.execute(late.values(error=""))


def _row(row: Waiting) -> dict[str, Any]:
    values = structs.asdict(row) | {"shard": shard_of(row.user_id), "state": row.state.value}
    del values["id"]
    return values


def _found(
    transaction: Transaction, where: Sequence[ColumnElement[bool]], limit: int | None = None
) -> list[Found]:
    """Entries of the audit with their causes, the oldest first."""
    statement = select(AUDIT).where(*where).order_by(AUDIT.c.sequence).limit(limit)
    return with_causes(transaction, [to_entry(row) for row in transaction.sql.execute(statement)])


def with_causes(transaction: Transaction, entries: Sequence[AuditEntry]) -> list[Found]:
    """Entries of the audit with their causes."""
    ids = {entry.delivery_id for entry in entries if entry.delivery_id is not None}
    acts = {entry.sequence for entry in entries if entry.delivery_id is None}
    causes: dict[str | None, tuple[str, str]] = {}
    if ids:
        columns = DELIVERIES.c.id, DELIVERIES.c.event, DELIVERIES.c.origin
        rows = transaction.sql.execute(select(*columns).where(DELIVERIES.c.id.in_(ids)))
        causes = {row[0]: (row[1], row[2]) for row in rows}
    marked: set[int] = set()
    if acts:
        silent = select(SILENT.c.sequence).where(SILENT.c.sequence.in_(acts))
        marked = set(transaction.sql.execute(silent).scalars())
    return [
        cause_of(entry, *causes.get(entry.delivery_id, ("", "")), marked=entry.sequence in marked)
        for entry in entries
    ]


def people_of(transaction: Transaction, keys: Collection[Key]) -> dict[Key, User]:
    """The records of users, where there are any."""
    return {
        (instance_id, user.id): user
        for instance_id, ids in _by_instance(keys).items()
        for user in find_by_ids(transaction, instance_id, sorted(ids))
    }


def _rows_of(consumer: str, users: Iterable[Key]) -> list[tuple[ColumnElement[bool], ...]]:
    """The conditions of a consumer's rows of these users, for each instance."""
    of_consumer = OUTBOX.c.consumer == consumer
    return [
        (OUTBOX.c.instance_id == instance_id, OUTBOX.c.user_id.in_(ids), of_consumer)
        for instance_id, ids in _by_instance(users).items()
    ]


def _by_instance(keys: Iterable[Key]) -> dict[UUID, set[UUID]]:
    found: dict[UUID, set[UUID]] = {}
    for instance_id, user_id in keys:
        found.setdefault(instance_id, set()).add(user_id)
    return found
