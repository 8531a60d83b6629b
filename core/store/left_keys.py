"""Keys of metadata that handlers wrote for people who are deleted since.

They stand in the audit, in the entry of the deletion, so that handlers can clean up elsewhere. The
table of this module finds those entries again when it is time to erase the keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from usher.core.domain.outbox import REMOVED_ACTION
from usher.core.domain.records import LEFT, Key, Status, User, left_of
from usher.core.store.database import Transaction
from usher.core.store.tables import AUDIT, LEFT_KEYS


def note_left(transaction: Transaction, user: User, at: datetime) -> None:
    """Note that the entry of a deletion has keys, if it has.

    Args:
        user: the record before the deletion.
        at: of the deletion.
    """
    if left_of(user):
        _note(transaction, (user.instance_id, user.id), at)


def leave(transaction: Transaction, key: Key, keys: Mapping[str, Any], now: datetime) -> None:
    """Add keys that come only now to the entry of a person's deletion, if it is there."""
    entries = _deletions(transaction, key)
    if entries:
        _rewrite(transaction, entries[0], {**entries[0].after.get(LEFT, {}), **keys})
        _note(transaction, key, now)


def erase_left(transaction: Transaction, before: datetime, step: int) -> int:
    """Erase the keys of deletions from before a time, the oldest first.

    Args:
        step: people at most.

    Returns:
        The number of people.
    """
    oldest = (
        select(LEFT_KEYS.c.instance_id, LEFT_KEYS.c.user_id)
        .where(LEFT_KEYS.c.at < before)
        .order_by(LEFT_KEYS.c.at)
        .limit(step)
        .with_for_update(skip_locked=True)
    )
    found: list[Key] = [(row[0], row[1]) for row in transaction.sql.execute(oldest)]
    for key in found:
        for entry in _deletions(transaction, key):
            _rewrite(transaction, entry, {})
        transaction.sql.execute(delete(LEFT_KEYS).where(*_is(key)))
    return len(found)


def _note(transaction: Transaction, key: Key, at: datetime) -> None:
    if not transaction.sql.execute(update(LEFT_KEYS).where(*_is(key)).values(at=at)).rowcount:
        row = {"instance_id": key[0], "user_id": key[1], "at": at}
        transaction.sql.execute(insert(LEFT_KEYS).values(row))


def _is(key: Key) -> tuple[Any, Any]:
    return LEFT_KEYS.c.instance_id == key[0], LEFT_KEYS.c.user_id == key[1]


def _deletions(transaction: Transaction, key: Key) -> list[Any]:
    """The entries of a person's deletion, the newest first: an id that was removed may return."""
    columns = AUDIT.c.sequence, AUDIT.c.action, AUDIT.c.after
    mine = AUDIT.c.instance_id == key[0], AUDIT.c.user_id == key[1]
    found = transaction.sql.execute(select(*columns).where(*mine).order_by(AUDIT.c.sequence.desc()))
    return [
        row
        for row in found
        if row.action == REMOVED_ACTION or row.after.get("status") == Status.DELETED
    ]


def _rewrite(transaction: Transaction, entry: Any, keys: Mapping[str, Any]) -> None:
    after = {name: value for name, value in entry.after.items() if name != LEFT}
    if keys:
        after[LEFT] = keys
    mine = AUDIT.c.sequence == entry.sequence
    transaction.sql.execute(update(AUDIT).where(mine).values(after=after))
