"""Pending pushes as rows: marked with the change, leased while a server makes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import Connection, bindparam, func, or_, select, update

from usher.core.domain.records import Key
from usher.core.store.tables import DELIVERIES, PUSHES

_MINE: Final = (PUSHES.c.instance_id == bindparam("k_instance")) & (
    PUSHES.c.user_id == bindparam("k_user")
)


class PendingPush(Struct, frozen=True):
    """A user's change that Identity must still be told of.

    Attributes:
        since: time of the first change that Identity was not told of.
        tries: how often the push was begun.
        next_try_at: when it is due; while a server makes it, the end of that server's lease.
        error: why the last try failed: a code, a colon, a sentence; empty: it did not fail.
    """

    instance_id: UUID
    user_id: UUID
    since: datetime
    tries: int
    next_try_at: datetime
    error: str


class Backlog(Struct, frozen=True):
    """All pending pushes: their number, the oldest one's time, the latest error."""

    count: int
    since: datetime | None
    error: str


class Failure(Struct, frozen=True):
    """Pending pushes that fail alike.

    Attributes:
        since: time of the oldest change among them.
        error: of the oldest: a code, a colon, a sentence.
        user_id: of the oldest.
    """

    code: str
    count: int
    since: datetime
    error: str
    user_id: UUID


def claim(
    connection: Connection, key: Key, lease: UUID, now: datetime, until: datetime, *, due: bool
) -> int:
    """Take the lease of one push.

    Args:
        lease: names the holder.
        until: the end of the lease.
        due: only a push whose time has come; else any without a holder.

    Returns:
        The number of the try, from 1; 0 where the lease is not to be had.
    """
    free = PUSHES.c.next_try_at <= now
    if not due:
        free = or_(free, PUSHES.c.lease.is_(None))
    taken = connection.execute(
        update(PUSHES)
        .where(_MINE, free)
        .values(lease=lease, tries=PUSHES.c.tries + 1, next_try_at=until),
        _named(key),
    )
    if not taken.rowcount:
        return 0
    tries: int = connection.execute(select(PUSHES.c.tries).where(_MINE), _named(key)).scalar_one()
    return tries


def renew(connection: Connection, key: Key, lease: UUID, until: datetime) -> bool:
    """Prolong a lease; False where it was lost."""
    mine = update(PUSHES).where(_MINE, PUSHES.c.lease == lease).values(next_try_at=until)
    return bool(connection.execute(mine, _named(key)).rowcount)


def postpone(connection: Connection, key: Key, lease: UUID, until: datetime, error: str) -> None:
    """Give a lease back; the push is due again at ``until``."""
    connection.execute(
        update(PUSHES)
        .where(_MINE, PUSHES.c.lease == lease)
        .values(lease=None, next_try_at=until, error=error),
        _named(key),
    )


def give_back(connection: Connection, key: Key, lease: UUID, now: datetime) -> None:
    """Give a lease back as if the push had not been begun; it is due at once."""
    connection.execute(
        update(PUSHES)
        .where(_MINE, PUSHES.c.lease == lease)
        .values(lease=None, next_try_at=now, tries=PUSHES.c.tries - 1),
        _named(key),
    )


def is_made_up(connection: Connection, key: Key) -> bool:
    """Whether all that is known of a user came from ``usher trigger``."""
    mine = (DELIVERIES.c.instance_id == key[0]) & (DELIVERIES.c.user_id == key[1])
    origins = connection.execute(select(DELIVERIES.c.origin).where(mine).distinct())
    return set(origins.scalars()) == {"trigger"}


def due_keys(connection: Connection, now: datetime, limit: int) -> list[Key]:
    """Users whose push is due, the longest due first."""
    rows = connection.execute(
        select(PUSHES.c.instance_id, PUSHES.c.user_id)
        .where(PUSHES.c.next_try_at <= now)
        .order_by(PUSHES.c.next_try_at)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in rows]


def pending_push(connection: Connection, key: Key) -> PendingPush | None:
    """The pending push of one user, if there is one."""
    columns = [column for column in PUSHES.c if column.name != "lease"]
    row = connection.execute(select(*columns).where(_MINE), _named(key)).mappings().first()
    return None if row is None else PendingPush(**row)


def backlog(connection: Connection) -> Backlog:
    """All pending pushes in a few numbers."""
    count, since = connection.execute(
        select(func.count(), func.min(PUSHES.c.since)).select_from(PUSHES)
    ).one()
    failed = select(PUSHES.c.error).where(PUSHES.c.error != "")
    error = connection.execute(failed.order_by(PUSHES.c.next_try_at.desc()).limit(1)).scalar()
    return Backlog(count, since, error or "")


def failures(connection: Connection) -> list[Failure]:
    """Failed pushes by the code of their error, the most frequent first."""
    place = func.strpos if connection.dialect.name == "postgresql" else func.instr
    code = func.substr(PUSHES.c.error, 1, place(PUSHES.c.error, ":") - 1)
    found = connection.execute(
        select(code, func.count(), func.min(PUSHES.c.since))
        .where(PUSHES.c.error != "")
        .group_by(code)
        .order_by(func.count().desc(), code)
    ).all()
    oldest = [_oldest(connection, row[0]) for row in found]
    # None: it was settled just now.
    return [Failure(*row, *one) for row, one in zip(found, oldest, strict=True) if one is not None]


def _oldest(connection: Connection, code: str) -> Any:
    statement = (
        select(PUSHES.c.error, PUSHES.c.user_id)
        .where(PUSHES.c.error.startswith(f"{code}:", autoescape=True))
        .order_by(PUSHES.c.since)
        .limit(1)
    )
    return connection.execute(statement).first()


def _named(key: Key) -> dict[str, Any]:
    return {"k_instance": key[0], "k_user": key[1]}
