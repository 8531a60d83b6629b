"""Removals of a sync: deletions at Identity carried over to the records, and ours to Identity."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from msgspec.structs import replace

from usher.core.domain.administration import Change, delete
from usher.core.domain.records import Status, User
from usher.core.domain.sync import ACTOR, Kind
from usher.core.domain.sync_plan import MOST_REMOVED_PERCENT, Mark, Plan, Run, too_many
from usher.core.errors import (
    LastAdministratorError,
    PreconditionFailedError,
    UserDeletedError,
    UserNotFoundError,
)
from usher.core.identity.push import Pushes
from usher.core.identity.sync_accounts import Accounts
from usher.core.log import get_logger
from usher.core.store import syncs as rows
from usher.core.store.database import Database
from usher.core.users import UserService

REMOVED_AT_ONCE: Final = 20


class Removals:
    """The removals of one run, by its marks.

    Args:
        plan: says on which side they are made.
        force: make them however many there are.
    """

    def __init__(
        self,
        database: Database,
        users: UserService,
        accounts: Accounts,
        pushes: Pushes,
        plan: Plan,
        *,
        force: bool,
    ) -> None:
        self._database = database
        self._users = users
        self._accounts = accounts
        self._pushes = pushes
        self._plan = plan
        self._force = force

    def step(self, run: Run) -> Run | None:
        """Make some removals; the run afterwards, or None where none is left to be made."""
        here = self._plan.pull and self._allowed(run, Kind.MISSING_THERE, run.progress.records)
        there = self._plan.push and self._allowed(run, Kind.DELETED_HERE, run.progress.accounts)
        noted = self._noted(run) if here or there else []
        if not noted:
            return None
        mended: dict[str, int] = {}
        for user_id, mark in noted:
            kind = Kind.MISSING_THERE if mark is Mark.ABSENT else Kind.DELETED_HERE
            if kind is Kind.MISSING_THERE:
                removed = here and self._remove_here(user_id)
            else:
                removed = there and self._remove_there(run, user_id)
            if removed:
                mended[kind.value] = mended.get(kind.value, 0) + 1
        progress = replace(run.progress.counting({}, mended), place=str(noted[-1][0]))
        return replace(run, progress=progress)

    def refused(self, run: Run) -> str:
        """The reason why removals were not made; empty: they were."""
        refused = [
            f"{run.progress.found[kind.value]} of {total} {where}"
            for kind, total, where, mends in (
                (Kind.MISSING_THERE, run.progress.records, "users here", self._plan.pull),
                (Kind.DELETED_HERE, run.progress.accounts, "accounts at Identity", self._plan.push),
            )
            if mends and not self._allowed(run, kind, total)
        ]
        if not refused:
            return ""
        return (
            f"Not removed: {' and '.join(refused)}, more than {MOST_REMOVED_PERCENT} %. "
            "If that is meant, repeat with --prune --force."
        )

    def _noted(self, run: Run) -> list[tuple[UUID, Mark]]:
        place = UUID(run.progress.place) if run.progress.place else None
        with self._database.read() as transaction:
            return rows.marks_after(transaction.sql, run.id, place, REMOVED_AT_ONCE)

    def _allowed(self, run: Run, kind: Kind, total: int) -> bool:
        count = run.progress.found.get(kind.value, 0)
        return self._force or not too_many(count, total)

    def _remove_here(self, user_id: UUID) -> bool:
        """Leave a tombstone, if Identity is asked once more and has no such account."""
        user = self._users.look_up(user_id)
        if user is None or user.deleted_at or self._accounts.exists(user_id):
            return False
        try:
            self._delete_here(user)
        except (
            PreconditionFailedError,
            LastAdministratorError,
            UserNotFoundError,
            UserDeletedError,
        ) as error:
            get_logger().warning("sync.kept", user_id=str(user_id), code=error.code)
            return False
        return True

    def _delete_here(self, user: User) -> None:
        """Leave a tombstone of a record, unless it has changed."""
        change = Change(ACTOR, "not at Identity any more", version=user.version, known=True)
        self._users.change(user, delete(), change)

    def _remove_there(self, run: Run, user_id: UUID) -> bool:
        """Delete the account of a tombstone at Identity; True where it is gone."""
        user = self._delete_there(run, user_id)
        return user is not None and not self._pushes.push(user).at_identity.pending

    def _delete_there(self, run: Run, user_id: UUID) -> User | None:
        """Mark a tombstone for a push, which deletes its account; None where it is no tombstone."""
        key = (run.instance_id, user_id)
        with self._database.write() as transaction:
            before = self._users.load(transaction, [key])
            user = before.get(key)
            if user is None or user.status is not Status.DELETED:
                return None
            marked = replace(user, at_identity=user.at_identity.marked_pending())
            self._users.store(transaction, before, {key: marked}, [])
            return marked
