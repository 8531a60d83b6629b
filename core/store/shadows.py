"""Shadow policies as rows: how far each has followed the ledger, and what it would have changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from msgspec import structs
from sqlalchemy import delete, func, insert, select, tuple_, update

from usher.core.domain.records import PLAYED_BACK, Delivery, Key, Outcome, Page, User
from usher.core.domain.shadow import (
    MAX_COUNTED,
    MAX_GROUPS,
    Change,
    Difference,
    Group,
    Groups,
    Noted,
    Run,
)
from usher.core.errors import ConflictError
from usher.core.store.database import Database, again_on_conflict
from usher.core.store.deliveries import to_delivery
from usher.core.store.keyset import Order, fetch
from usher.core.store.ledger import IMPORTED, newest_sequence
from usher.core.store.tables import DELIVERIES, DIFFERENCES, SHADOWS
from usher.core.store.users import find_by_ids

LEASE: Final = timedelta(seconds=60)
"""A server that shows no sign of life for so long no longer follows; another one may."""
MAX_ERROR: Final = 300
_DECIDED: Final = (Outcome.APPLIED, Outcome.UNCHANGED, Outcome.DENIED)
_NEWEST = Order(
    "shadow",
    (DIFFERENCES.c.sequence, DIFFERENCES.c.change, DIFFERENCES.c.role),
    (int, str, str),
    descending=True,
)


class Shadows:
    """The shadow policies of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- for the process that follows ---------------------------------------------------------

    def claim(
        self, source: str, pair: tuple[str, str], lease: UUID, now: datetime, error: str = ""
    ) -> Run | None:
        """Take or renew the lease; with another pair of policies a new run begins.

        Args:
            pair: the fingerprints of the shadow policy and of the live one.
            error: why the process ended before; empty: it did not.

        Returns:
            The run as it is now; None where another server follows.
        """
        return again_on_conflict(lambda: self._claim(source, pair, lease, now, error))

    def _claim(
        self, source: str, pair: tuple[str, str], lease: UUID, now: datetime, error: str
    ) -> Run | None:
        with self._database.write() as transaction:
            mine = select(SHADOWS).where(SHADOWS.c.source == source).with_for_update()
            row = transaction.sql.execute(mine).first()
            known = None if row is None else Run(*row)
            if known is not None and known.lease not in (None, lease) and known.lease_until > now:
                return None
            newest = newest_sequence(transaction)
            if known is None or (known.fingerprint, known.live) != pair:
                run = Run(
                    source,
                    uuid4(),
                    *pair,
                    now,
                    newest,
                    newest,
                    0,
                    0,
                    0,
                    lease,
                    now + LEASE,
                    now,
                    "",
                    None,
                )
            else:
                run = structs.replace(
                    known, newest=newest, lease=lease, lease_until=now + LEASE, seen_at=now
                )
            if error:
                run = structs.replace(run, error=error[:MAX_ERROR], failed_at=now)
            values = structs.asdict(run)
            if known is None:
                transaction.sql.execute(insert(SHADOWS).values(**values))
            else:
                changed = update(SHADOWS).where(SHADOWS.c.source == source).values(**values)
                transaction.sql.execute(changed)
            return run

    def following(
        self, run: Run, up_to: int, limit: int
    ) -> tuple[list[Delivery], Mapping[Key, User]]:
        """The deliveries after the position of a run, the oldest first, and their users' records.

        Args:
            up_to: the ``sequence`` of the last one that may be given.
        """
        rows = (
            select(DELIVERIES)
            .where(DELIVERIES.c.sequence > run.position, DELIVERIES.c.sequence <= up_to)
            .order_by(DELIVERIES.c.sequence)
            .limit(limit)
        )
        with self._database.read() as transaction:
            found = [to_delivery(row) for row in transaction.sql.execute(rows)]
            users = {
                (user.instance_id, user.id): user
                for instance_id in {each.instance_id for each in found}
                for user in find_by_ids(
                    transaction,
                    instance_id,
                    sorted(
                        {e.user_id for e in found if e.user_id and e.instance_id == instance_id}
                    ),
                )
            }
        return found, users

    def newest(self) -> int:
        """The ``sequence`` of the newest delivery."""
        with self._database.read() as transaction:
            return newest_sequence(transaction)

    def trying(self, run: Run, sequence: int, now: datetime) -> Run:
        """Note that a delivery is about to be looked at, in case the process does not survive it.

        Raises:
            ConflictError: another server follows by now.
        """
        tries = run.tries + 1 if run.trying == sequence else 1
        return self._move(run, now, (), trying=sequence, tries=tries)

    def keep(
        self,
        run: Run,
        now: datetime,
        looked_at: Delivery,
        compared: int,
        found: Sequence[tuple[Delivery, Difference]],
    ) -> Run:
        """Keep differences, and the new position, in one transaction.

        Args:
            looked_at: the last delivery that was looked at.
            compared: how many were compared.

        Raises:
            ConflictError: another server follows by now; nothing is kept.
        """
        rows = [_row(run, delivery, difference) for delivery, difference in found]
        position = looked_at.sequence or 0
        newest = max(run.newest, position)
        return self._move(
            run,
            now,
            rows,
            position=position,
            newest=newest,
            events=run.events + compared,
            trying=0,
            tries=0,
        )

    def _move(
        self, run: Run, now: datetime, rows: Sequence[Mapping[str, Any]], **values: Any
    ) -> Run:
        """Change a run by compare-and-set of its lease and position."""
        moved = structs.replace(run, lease_until=now + LEASE, seen_at=now, **values)
        with self._database.write() as transaction:
            written = transaction.sql.execute(
                update(SHADOWS)
                .where(
                    SHADOWS.c.source == run.source,
                    SHADOWS.c.run_id == run.run_id,
                    SHADOWS.c.lease == run.lease,
                    SHADOWS.c.position == run.position,
                )
                .values(**structs.asdict(moved))
            )
            if written.rowcount != 1:
                raise ConflictError("Another server follows the ledger by now.")
            if rows:
                transaction.sql.execute(insert(DIFFERENCES), rows)
        return moved

    def release(self, run: Run) -> None:
        """Give the lease back, so that another server follows at once."""
        with self._database.write() as transaction:
            transaction.sql.execute(
                update(SHADOWS)
                .where(SHADOWS.c.source == run.source, SHADOWS.c.lease == run.lease)
                .values(lease=None)
            )

    # --- for everybody else -------------------------------------------------------------------

    def run(self, source: str) -> Run | None:
        """The run of a shadow policy, if a server ever followed with it."""
        with self._database.read() as transaction:
            row = transaction.sql.execute(select(SHADOWS).where(SHADOWS.c.source == source)).first()
        return None if row is None else Run(*row)

    def groups(self, run: Run) -> Groups:
        """The newest differences by kind, the most frequent first."""
        newest = (
            select(DIFFERENCES)
            .where(DIFFERENCES.c.run_id == run.run_id)
            .order_by(DIFFERENCES.c.sequence.desc())
            .limit(MAX_COUNTED)
            .subquery()
        )
        columns = newest.c
        kind = (columns.change, columns.role, columns.rule)
        counted = (
            select(
                *kind,
                func.max(columns.text),
                func.count(),
                func.count(columns.user_id.distinct()),
                func.count().over(),
                func.sum(func.count()).over(),
            )
            .group_by(*kind)
            .order_by(func.count().desc(), *kind)
            .limit(MAX_GROUPS)
        )
        with self._database.read() as transaction:
            rows = transaction.sql.execute(counted).all()
        if not rows:
            return Groups()
        kinds, counted = rows[0][-2:]
        items = [Group(Change(change), *rest) for change, *rest, _, _ in rows]
        return Groups(items, kinds - len(items), int(counted))

    def page(self, run: Run, *, limit: int = 50, cursor: str | None = None) -> Page[Noted]:
        """One page of differences, the newest first.

        Raises:
            CursorInvalidError: the cursor is not one of this list.
        """
        with self._database.read() as transaction:
            rows, following = fetch(
                transaction.sql,
                select(DIFFERENCES),
                _NEWEST,
                within=[DIFFERENCES.c.run_id == run.run_id],
                where=[],
                cursor=cursor,
                limit=limit,
            )
        return Page(tuple(map(_noted, rows)), following)

    def prune(self, before: datetime, step: int) -> int:
        """Remove differences of deliveries from before a time, and runs that nobody goes on with.

        Returns:
            The number of differences removed; fewer than ``step``: none is left.
        """
        key = tuple_(*DIFFERENCES.primary_key)
        oldest = (
            select(*DIFFERENCES.primary_key)
            .where(DIFFERENCES.c.at < before)
            .order_by(DIFFERENCES.c.at)
            .limit(step)
            .with_for_update(skip_locked=True)
        )
        with self._database.write() as transaction:
            rows = transaction.sql.execute(oldest).all()
            if rows:
                transaction.sql.execute(
                    delete(DIFFERENCES).where(key.in_([tuple(r) for r in rows]))
                )
            transaction.sql.execute(delete(SHADOWS).where(SHADOWS.c.seen_at < before))
        return len(rows)


def is_compared(delivery: Delivery) -> bool:
    """Whether a delivery was decided by the policy now, and not played back or imported."""
    return (
        delivery.outcome in _DECIDED
        and delivery.origin not in PLAYED_BACK
        and delivery.key_index != IMPORTED
    )


def _row(run: Run, delivery: Delivery, difference: Difference) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "sequence": delivery.sequence,
        "change": difference.change.value,
        "role": difference.role,
        "rule": difference.rule,
        "text": difference.text,
        "delivery_id": delivery.id,
        "instance_id": delivery.instance_id,
        "user_id": delivery.user_id,
        "event": delivery.event,
        "at": delivery.received_at,
    }


def _noted(row: Any) -> Noted:
    difference = Difference(Change(row.change), row.role, row.rule, row.text)
    return Noted(row.delivery_id, row.event, row.user_id, row.at, difference)
