"""The feed: changes in the order of the audit, from a cursor on, none of which is ever skipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from threading import Lock
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import select

from usher.core.domain.cursors import read_cursor, write_cursor
from usher.core.domain.outbox import Change, Kind, changes_of, matches, with_person
from usher.core.errors import CursorGoneError, DatabaseError
from usher.core.store.audit import to_entry
from usher.core.store.complete import Complete
from usher.core.store.database import Database, Transaction
from usher.core.store.instances import Instances
from usher.core.store.sizes import fitting
from usher.core.store.tables import AUDIT
from usher.core.store.users import find_by_ids

START: Final = "start"
SCAN: Final = 1_000
"""Entries that one page looks at, at most."""
SETTLE_SECONDS: Final = 0.25
"""Longest wait for writers that are under way. Where they outlast it, the next call waits no more:
a foreign session that stays open must not keep the server's threads."""
_ORDER: Final = "changes"


class Place(Struct, frozen=True):
    """An entry up to which a reader has come.

    Attributes:
        at: its time, since a database that was restored numbers other entries the same; None:
            before the oldest one.
    """

    sequence: int = 0
    at: datetime | None = None


BEGINNING: Final = Place()


class FeedPage(Struct, frozen=True):
    """Some changes, the oldest first.

    Attributes:
        place: the last entry that was looked at; the next page begins after it.
        more: whether there are more entries already.
    """

    changes: tuple[Change, ...]
    place: Place
    more: bool


class News(Struct, frozen=True):
    """The entries since a place: up to which one, and which kinds of changes they hold."""

    place: int
    kinds: frozenset[str]


class Feed:
    """Reads changes for programs that follow them. May be used by several threads.

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
        self._complete = Complete(database)
        self._lock = Lock()

    def place_of(self, cursor: str | None) -> Place:
        """The place that a cursor names.

        Args:
            cursor: ``start`` is before the oldest entry; None: after the newest one before which
                none is still to come.

        Raises:
            CursorInvalidError: it is none of the feed's.
            DatabaseError: which entry that is cannot be told, for a transaction does not end.
        """
        if cursor == START:
            return BEGINNING
        if cursor is not None:
            return Place(*read_cursor(cursor, _ORDER, (int, datetime)))
        newest = self._up_to()
        if newest is None:
            raise DatabaseError("A transaction that writes to the audit does not end.")
        with self._database.read() as transaction:
            return _last(transaction, newest)

    def page(
        self, after: Place, patterns: AbstractSet[str], limit: int, *, full: bool = False
    ) -> FeedPage:
        """The changes after a place, at least ``limit`` of them if there are so many.

        The changes of one entry stay together, so there may be a few more.

        Args:
            patterns: of the kinds that are wanted.
            full: with the people as they are on record now.

        Raises:
            CursorGoneError: the entry at the place is no longer there, nor perhaps others after it.
        """
        up_to = self._up_to() or 0
        found: list[Change] = []
        with self._database.read() as transaction:
            instance_id = self._instances.shown(transaction)
            self._require_there(transaction, after)
            place, looked_at = after, 0
            while len(found) < limit and looked_at < SCAN:
                rows = _entries(transaction, place.sequence, up_to, limit)
                for row in rows:
                    place, looked_at = Place(row.sequence, row.at), looked_at + 1
                    if row.instance_id == instance_id:
                        changes = changes_of(to_entry(row))
                        found += [one for one in changes if matches(patterns, one.kind)]
                    if len(found) >= limit:
                        break
                if len(rows) < limit:
                    break
            if full:
                users = find_by_ids(transaction, instance_id, sorted({c.user.id for c in found}))
                people, now = {user.id: user for user in users}, self._clock()
                found = [with_person(one, people.get(one.user.id), now) for one in found]
        return FeedPage(tuple(found), place, place.sequence < up_to)

    def cursor_of(self, place: Place) -> str:
        """The cursor of a place."""
        return START if place == BEGINNING else write_cursor(_ORDER, (place.sequence, place.at))

    def news(self, after: int) -> News:
        """The entries since a place, for all who wait for one."""
        up_to = self._up_to()
        if up_to is None or up_to == after:
            return News(after, frozenset())
        if up_to < after:  # a failover lost rows; others get their numbers
            return News(up_to, frozenset(Kind))
        with self._database.read() as transaction:
            rows = _entries(transaction, after, up_to, SCAN)
        if rows and (len(rows) == SCAN or rows[-1].sequence < up_to):
            return News(up_to, frozenset(Kind))
        return News(up_to, frozenset(c.kind for row in rows for c in changes_of(to_entry(row))))

    def _up_to(self) -> int | None:
        with self._lock:
            return self._complete.up_to(0 if self._complete.awaited else SETTLE_SECONDS)

    def _require_there(self, transaction: Transaction, place: Place) -> None:
        """Each place was an entry's; retention removes the oldest ones, and a backup lacks some."""
        if place != BEGINNING and _last(transaction, place.sequence) != place:
            raise CursorGoneError


def _last(transaction: Transaction, up_to: int) -> Place:
    """The last entry up to a number."""
    columns = AUDIT.c.sequence, AUDIT.c.at
    newest = select(*columns).where(AUDIT.c.sequence <= up_to).order_by(AUDIT.c.sequence.desc())
    row = transaction.sql.execute(newest.limit(1)).first()
    return BEGINNING if row is None else Place(*row)


def _entries(transaction: Transaction, after: int, up_to: int, limit: int) -> Sequence[Any]:
    """The entries after a number, as many as may be read at once; ``limit`` at most."""
    within = AUDIT.c.sequence > after, AUDIT.c.sequence <= up_to
    most = fitting(transaction.sql, within, limit)
    statement = select(AUDIT).where(*within).order_by(AUDIT.c.sequence).limit(most)
    return transaction.sql.execute(statement).all()
