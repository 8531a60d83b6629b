"""A sync as rows: its lease, its progress, and its mark on each user."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from usher.core.domain.records import Status
from usher.core.domain.sync_plan import Completed, Mark, Phase, Progress, Run
from usher.core.errors import SyncRunningError
from usher.core.store.database import Transaction
from usher.core.store.statements import INTO_SYNC_MARKS
from usher.core.store.tables import MARKS, PUSHES, SYNCS, USERS
from usher.core.store.values import hex_of

LEASE: Final = timedelta(seconds=60)
"""A run that shows no sign of life for so long counts as dead, and another may take it over."""

_REPLACING: Final = INTO_SYNC_MARKS.changing(frozenset(("mark",)))
_HERE = SYNCS.c.instance_id == bindparam("k_instance")
_MARKED = select(MARKS.c.user_id).where(
    MARKS.c.run_id == bindparam("run_id"),
    MARKS.c.user_id.in_(bindparam("ids", expanding=True)),
)


def sync_row(connection: Connection, instance_id: UUID) -> Mapping[str, Any] | None:
    """The sync of an instance as its row, locked until the transaction ends."""
    statement = select(SYNCS).where(_HERE).with_for_update()
    row = connection.execute(statement, {"k_instance": instance_id}).mappings().first()
    return None if row is None else dict(row)


def insert_sync(connection: Connection, row: Mapping[str, Any]) -> None:
    """Add the row of an instance's first run."""
    connection.execute(insert(SYNCS).values(row))


def change_sync(connection: Connection, instance_id: UUID, **values: Any) -> None:
    """Change the row of an instance."""
    statement = update(SYNCS).where(_HERE).values(**values)
    connection.execute(statement, {"k_instance": instance_id})


def keep_progress(connection: Connection, run: Run, now: datetime) -> None:
    """Store the progress of a run and prolong its lease.

    Raises:
        SyncRunningError: another process has taken the run over.
    """
    kept = connection.execute(
        update(SYNCS)
        .where(_HERE, SYNCS.c.lease == run.lease)
        .values(progress=run.progress.document(), lease_until=now + LEASE),
        {"k_instance": run.instance_id},
    )
    if kept.rowcount != 1:
        raise SyncRunningError("Another process has taken this sync over.")


def release(connection: Connection, run: Run, now: datetime) -> None:
    """Give the lease of a run back."""
    connection.execute(
        update(SYNCS).where(_HERE, SYNCS.c.lease == run.lease).values(lease=None, lease_until=now),
        {"k_instance": run.instance_id},
    )


def completed(connection: Connection, instance_id: UUID) -> Completed | None:
    """The last complete run of an instance, if there was one."""
    columns = (SYNCS.c.completed_at, SYNCS.c.completed_plan, SYNCS.c.completed_left)
    row = connection.execute(select(*columns).where(_HERE), {"k_instance": instance_id}).first()
    return None if row is None or row[0] is None else Completed(*row)


def is_done(row: Mapping[str, Any]) -> bool:
    """Whether the run of this row is complete."""
    return Progress.read(row["progress"]).phase is Phase.DONE


def marked(connection: Connection, run_id: UUID, ids: Collection[UUID]) -> set[UUID]:
    """The users among these on whom the run has put a mark."""
    rows = connection.execute(_MARKED, {"run_id": run_id, "ids": sorted(ids)})
    return {row[0] for row in rows}


def put_marks(transaction: Transaction, run_id: UUID, marks: Mapping[UUID, Mark]) -> None:
    """Put marks on users; a new mark replaces the old one."""
    run = hex_of(run_id)
    rows = [(run, hex_of(user_id), int(mark)) for user_id, mark in sorted(marks.items())]
    transaction.insert(INTO_SYNC_MARKS, rows, _REPLACING)


def marks_after(
    connection: Connection, run_id: UUID, place: UUID | None, limit: int
) -> list[tuple[UUID, Mark]]:
    """Users to be removed on one side or the other, in order of their ids.

    Args:
        place: the id after which to begin; None: the first.
    """
    statement = (
        select(MARKS.c.user_id, MARKS.c.mark)
        .where(MARKS.c.run_id == run_id, MARKS.c.mark != int(Mark.SEEN))
        .order_by(MARKS.c.user_id)
        .limit(limit)
    )
    if place is not None:
        statement = statement.where(MARKS.c.user_id > place)
    return [(row[0], Mark(row[1])) for row in connection.execute(statement)]


def drop_marks(connection: Connection, run_id: UUID) -> None:
    """Remove the marks of a run."""
    connection.execute(delete(MARKS).where(MARKS.c.run_id == run_id))


def ids_after(
    connection: Connection, instance_id: UUID, place: UUID | None, limit: int
) -> list[UUID]:
    """The ids of the next records in order, without tombstones.

    Args:
        place: the id after which to begin; None: the first.
    """
    statement = (
        select(USERS.c.id)
        .where(USERS.c.instance_id == instance_id, USERS.c.deleted_at.is_(None))
        .order_by(USERS.c.id)
        .limit(limit)
    )
    if place is not None:
        statement = statement.where(USERS.c.id > place)
    return list(connection.execute(statement).scalars())


def some_ids(connection: Connection, instance_id: UUID, limit: int) -> list[UUID]:
    """The ids of the oldest and the newest active records, ``limit`` of each."""
    found: list[UUID] = []
    for order in (USERS.c.created_at.asc(), USERS.c.created_at.desc()):
        statement = select(USERS.c.id).where(
            USERS.c.instance_id == instance_id, USERS.c.status == Status.ACTIVE.value
        )
        found += connection.execute(statement.order_by(order).limit(limit)).scalars()
    return sorted(set(found))


def known_ids(connection: Connection, instance_id: UUID, ids: Sequence[UUID]) -> int:
    """The number of these ids that have a record; tombstones count."""
    statement = (
        select(func.count())
        .select_from(USERS)
        .where(USERS.c.instance_id == instance_id, USERS.c.id.in_(ids))
    )
    count: int = connection.execute(statement).scalar_one()
    return count


def pending_of(connection: Connection, instance_id: UUID) -> int:
    """The number of pending pushes of an instance."""
    statement = select(func.count()).select_from(PUSHES)
    mine = statement.where(PUSHES.c.instance_id == instance_id)
    count: int = connection.execute(mine).scalar_one()
    return count


def is_free(row: Mapping[str, Any], now: datetime) -> bool:
    """Whether no process holds the lease of this row's run."""
    return row["lease"] is None or bool(row["lease_until"] <= now)
