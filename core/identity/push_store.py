"""The transactions of a push: each short, none open while Identity is waited for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from usher.core.domain.decide import ACTOR
from usher.core.domain.events import IdentityUser
from usher.core.domain.push import Prepared, conclude, prepare, same_view
from usher.core.domain.records import Key, User, audit
from usher.core.store import pushes as push_rows
from usher.core.store.database import Connection, Database, again_on_conflict
from usher.core.store.pushes import Backlog, PendingPush
from usher.core.users import UserService

LEASE: Final = timedelta(seconds=60)
"""From each step to the next, which takes a call of Identity at most: two time-outs and a pause.
Then another server may begin the push again."""
FOUND: Final = "found at Identity, by whose admin API it was looked at"


class PushStore:
    """What pushes read and write; a push that lost its lease writes nothing more.

    Args:
        clock: the current time, UTC.
    """

    def __init__(
        self, database: Database, users: UserService, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._users = users
        self._clock = clock

    def due(self, limit: int) -> list[Key]:
        """Whose push should be begun now."""
        with self._database.read() as connection:
            return push_rows.due_keys(connection, self._clock(), limit)

    def backlog(self) -> Backlog:
        """All that is pending, in a few numbers."""
        with self._database.read() as connection:
            return push_rows.backlog(connection)

    def of(self, user: User) -> PendingPush | None:
        """What is pending of one user."""
        with self._database.read() as connection:
            return push_rows.pending_push(connection, (user.instance_id, user.id))

    def claim(self, key: Key, lease: UUID, *, due: bool) -> int:
        """Take a push (see ``push_rows.claim``)."""
        now = self._clock()
        with self._database.write() as connection:
            return push_rows.claim(connection, key, lease, now, now + LEASE, due=due)

    def user(self, key: Key, lease: UUID) -> User | None:
        """Whose push it is; None where it is one's own no longer."""
        with self._database.write() as connection:
            return self._held(connection, key, lease)

    def prepare(self, seen: User, lease: UUID, found: IdentityUser) -> Prepared | None:
        """Merge what Identity holds and note what will be written there.

        Args:
            seen: the record before Identity was asked.

        Returns:
            None where an event told something else meanwhile, or the lease was lost.
        """
        key = (seen.instance_id, seen.id)

        def work() -> Prepared | None:
            with self._database.write() as connection:
                current = self._held(connection, key, lease)
                if current is None or not same_view(current, seen):
                    return None
                prepared = prepare(current, found, self._clock())
                kept = self._keep(connection, current, prepared.user)
                return replace(prepared, user=kept)

        return again_on_conflict(work)

    def conclude(self, key: Key, lease: UUID, prepared: Prepared, answer: IdentityUser) -> bool:
        """Take Identity's answer; whether it has all that it shall have, or the lease was lost."""

        def work() -> bool:
            with self._database.write() as connection:
                current = self._held(connection, key, lease)
                if current is None:
                    return True
                user, done = conclude(current, prepared, answer, self._clock())
                self._keep(connection, current, user)
                return done

        return again_on_conflict(work)

    def conclude_deletion(self, key: Key, lease: UUID) -> None:
        """The account is gone there."""
        with self._database.write() as connection:
            current = self._held(connection, key, lease)
            if current is not None:
                settled = current.at_identity.settled()
                self._keep(connection, current, replace(current, at_identity=settled))

    def postpone(self, key: Key, lease: UUID, wait: timedelta, error: str) -> None:
        """Give a push back (see ``push_rows.postpone``)."""
        until = self._clock() + wait
        with self._database.write() as connection:
            push_rows.postpone(connection, key, lease, until, error)

    def _held(self, connection: Connection, key: Key, lease: UUID) -> User | None:
        """The record under lock, while the push of it is one's own; which it then stays longer."""
        user = self._users.load(connection, [key]).get(key)
        until = self._clock() + LEASE
        return user if push_rows.renew(connection, key, lease, until) else None

    def _keep(self, connection: Connection, current: User, changed: User) -> User:
        key = (current.instance_id, current.id)
        now = self._clock()
        entry = audit("user.changed", ACTOR, current, changed, now, FOUND)
        if entry is not None:
            changed = replace(changed, updated_at=now, version=current.version + 1)
        entries = [entry] if entry is not None else []
        self._users.store(connection, {key: current}, {key: changed}, entries)
        return changed
