"""The removal of the oldest rows of a log, step by step."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from usher.core.store.database import Transaction
from usher.core.store.instances import instances_in


class OldRows:
    """The rows of one table that are past their time.

    Each step goes on where the one before ended: on PostgreSQL, removed rows stay in the index
    until a vacuum, and every step from the beginning would pass over all of them.

    Args:
        table: has an index by instance, time and sequence.
        time: the column of that index.
    """

    def __init__(self, table: Literal["deliveries", "audit"], time: str) -> None:
        self._table: Literal["deliveries", "audit"] = table
        self._time = time
        self._places: dict[UUID, datetime] | None = None

    def remove(
        self, transaction: Transaction, before: datetime, step: int, needed: int | None = None
    ) -> int:
        """Remove rows from before a time, of any instance, the oldest first.

        Rows that another server is just removing are left to it.

        Args:
            step: rows at most.
            needed: the ``sequence`` of the first row that stays in any case.

        Returns:
            The number removed; fewer than ``step``: none is left, and the next call begins anew.
        """
        from sqlalchemy import delete, select  # noqa: PLC0415 - no event needs it

        from usher.core.store import tables  # noqa: PLC0415

        table = tables.DELIVERIES if self._table == "deliveries" else tables.AUDIT
        at, sequence = table.c[self._time], table.c.sequence
        if self._places is None:
            ages_ago = datetime.min.replace(tzinfo=before.tzinfo)
            self._places = dict.fromkeys(instances_in(transaction, self._table), ages_ago)
        found: list[int] = []
        may_go = [] if needed is None else [sequence < needed]
        if needed is not None:
            # Those from after its time wait, so that no step passes over all rows that stay.
            first = select(at).where(sequence == needed)
            kept_since = transaction.sql.execute(first).scalar()
            before = before if kept_since is None else min(before, kept_since)
        for instance_id, place in self._places.items():
            oldest = (
                select(sequence, at)
                .where(table.c.instance_id == instance_id, at >= place, at < before, *may_go)
                .order_by(at, sequence)
                .limit(step - len(found))
                .with_for_update(skip_locked=True)
            )
            rows = transaction.sql.execute(oldest).all()
            if rows:
                found += [row[0] for row in rows]
                self._places[instance_id] = rows[-1][1]
        if found:
            transaction.sql.execute(delete(table).where(sequence.in_(found)))
        if len(found) < step:
            self._places = None
        return len(found)
