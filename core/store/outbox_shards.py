"""The shards of consumers as rows: positions in the audit, leases, and the kinds that count."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct, structs
from sqlalchemy import ColumnElement, func, insert, select, update

from usher.core.domain.outbox_queue import WHOLE, Place, State
from usher.core.domain.outbox_shards import SHARDS, counts, users_of
from usher.core.store.database import Database, Transaction, again_on_conflict
from usher.core.store.sinks import is_removed
from usher.core.store.tables import AUDIT, CONSUMERS, OUTBOX

MOST_BEHIND: Final = 1_000
"""A position moves past so many entries of other shards, so that no look passes over many."""
WAITS: Final = OUTBOX.c.state == State.WAITING.value


class Shard(Struct, frozen=True):
    """One shard of a consumer (``tables.CONSUMERS``).

    Attributes:
        position, part: the change up to which it has come.
        kinds: those that the consumer is for.
        started_at: the start of a server that is for them, the latest.
        due: whether a waiting row of it is due.
        follows: whether the audit has entries after its place, or so many others that its position
            should move.
    """

    name: str
    shard: int
    position: int
    part: int
    trying: int
    tries: int
    lease: UUID | None
    lease_until: datetime
    seen_at: datetime
    kinds: Sequence[str]
    started_at: datetime
    due: bool = False
    follows: bool = False

    @property
    def place(self) -> Place:
        """The change up to which it has come."""
        return self.position, self.part


class Look(Struct, frozen=True):
    """The shards of a consumer, and the newest entry of the audit."""

    shards: tuple[Shard, ...]
    newest: int


class Signs(Struct, frozen=True):
    """The newest entry of the audit, and the names of the consumers with rows that are due."""

    newest: int
    due: frozenset[str]


class Shards:
    """The shards of all consumers in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def look(self, name: str, now: datetime) -> Look:
        """How things stand with a consumer, without a lock; no shard: it is a new one."""
        due = select(OUTBOX.c.shard).where(OUTBOX.c.consumer == name, OUTBOX.c.due_at <= now, WAITS)
        with self._database.read() as transaction:
            sql = transaction.sql
            known = select(CONSUMERS).where(CONSUMERS.c.name == name).order_by(CONSUMERS.c.shard)
            shards = [Shard(*row) for row in sql.execute(known)]
            ready = set(sql.execute(due.distinct()).scalars())
            newest = newest_entry(transaction)
            return Look(
                tuple(
                    structs.replace(
                        shard,
                        due=shard.shard in ready,
                        follows=_follows(transaction, shard, newest),
                    )
                    for shard in shards
                ),
                newest,
            )

    def signs(self, now: datetime) -> Signs:
        """A look for all consumers at once."""
        due = select(OUTBOX.c.consumer).where(OUTBOX.c.due_at <= now, WAITS).distinct()
        with self._database.read() as transaction:
            names = frozenset(transaction.sql.execute(due).scalars())
            return Signs(newest_entry(transaction), names)

    def begin(
        self,
        name: str,
        position: int,
        now: datetime,
        kinds: Collection[str] = ("*",),
        started_at: datetime | None = None,
    ) -> bool:
        """Make a new consumer known, at a position; a known one is left as it is.

        Args:
            kinds: those that it is for.
            started_at: the start of the server that is for them; None: now.

        Returns:
            False: it is a sink that was removed, which stays unknown.
        """
        new = (position, WHOLE, 0, 0, None, now, now, sorted(kinds), started_at or now)
        rows = [_row_of(Shard(name, shard, *new)) for shard in range(SHARDS)]
        known = select(CONSUMERS.c.shard).where(CONSUMERS.c.name == name)

        def work() -> bool:
            with self._database.write() as transaction:
                if is_removed(transaction, name):
                    return False
                if not transaction.sql.execute(known).all():
                    transaction.sql.execute(insert(CONSUMERS), rows)
                return True

        return again_on_conflict(work)

    def seen(self, name: str, now: datetime, kinds: Collection[str], started_at: datetime) -> bool:
        """Note that a server works for a consumer, and for which kinds of changes.

        Args:
            started_at: when the server was started.

        Returns:
            False: other kinds count, so it must not; nothing was noted.
        """
        mine, own = CONSUMERS.c.name == name, sorted(kinds)
        locked = select(CONSUMERS).where(mine).order_by(CONSUMERS.c.shard).with_for_update()
        with self._database.write() as transaction:
            shards = [Shard(*row) for row in transaction.sql.execute(locked)]
            if not shards:
                return False
            noted, noted_at = shards[0].kinds, shards[0].started_at
            seen_at = max(shard.seen_at for shard in shards)
            if not counts(own, started_at, now, noted=noted, noted_at=noted_at, seen_at=seen_at):
                return False
            start = max(started_at, noted_at) if own == noted else started_at
            said = {"seen_at": now, "kinds": own, "started_at": start}
            transaction.sql.execute(update(CONSUMERS).where(mine).values(said))
            return True

    def claim(
        self, shard: Shard, lease: UUID, now: datetime, until: datetime, *, alive: bool
    ) -> Shard | None:
        """Take the lease of a shard; None where another server has it, or other kinds count by now.

        Where the one before was never given back, its process ended while it worked. ``tries``
        then counts one more.

        Args:
            shard: with the kinds that this server is for.
            alive: this process has it, and has not ended.
        """
        with self._database.write() as transaction:
            mine = select(CONSUMERS).where(*is_shard(shard)).with_for_update()
            row = transaction.sql.execute(mine).first()
            if row is None or row.kinds != shard.kinds:
                return None
            if row.lease not in (None, lease) and row.lease_until > now:
                return None
            taken = structs.replace(
                Shard(*row),
                lease=lease,
                lease_until=until,
                seen_at=now,
                tries=row.tries + (row.lease is not None and not alive),
            )
            transaction.sql.execute(
                update(CONSUMERS).where(*is_shard(shard)).values(values_of(taken))
            )
        return taken


def newest_entry(transaction: Transaction) -> int:
    """The number of the newest entry of the audit that can be seen; 0: there is none.

    All that are begun after this have a greater one.
    """
    return transaction.sql.execute(select(func.max(AUDIT.c.sequence))).scalar() or 0


def _row_of(shard: Shard) -> dict[str, Any]:
    return {column.name: getattr(shard, column.name) for column in CONSUMERS.c}


def values_of(shard: Shard) -> dict[str, Any]:
    """The columns of a shard that its work changes."""
    values = _row_of(shard)
    del values["kinds"], values["started_at"]  # another server may have noted others
    return values


def is_shard(shard: Shard) -> tuple[ColumnElement[bool], ...]:
    """The conditions of its row."""
    return CONSUMERS.c.name == shard.name, CONSUMERS.c.shard == shard.shard


def after(shard: Shard) -> tuple[ColumnElement[bool], ...]:
    """Entries of the audit after the place of a shard; of the one at it, changes may be left."""
    begin = shard.position + (shard.part == WHOLE)
    return AUDIT.c.sequence >= begin, AUDIT.c.user_id.between(*users_of(shard.shard))


def _follows(transaction: Transaction, shard: Shard, newest: int) -> bool:
    if shard.part == WHOLE and newest <= shard.position:
        return False
    if newest - shard.position > MOST_BEHIND:
        return True
    some = select(AUDIT.c.sequence).where(*after(shard)).order_by(AUDIT.c.sequence).limit(1)
    return transaction.sql.execute(some).first() is not None
