"""Pushes: Identity is told of changes made here, after our commit and outside any event.

A change that Identity must learn of marks its user ``pending`` in the same transaction. A push
takes a lease on that mark, so that of two servers only one makes it. Failed pushes are tried again
by ``push_pending`` from a command, and by ``step`` from the server's periodic tasks.

Every transaction is short. None is open while Identity is asked, since Identity's own event about
the change comes in meanwhile. A push that lost its lease writes nothing more.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from msgspec import Struct
from msgspec.structs import replace

from usher.core.domain.decide import ACTOR
from usher.core.domain.events import IdentityUser
from usher.core.domain.in_flight import IN_FLIGHT_SECONDS
from usher.core.domain.push import Prepared, conclude, prepare, same_view
from usher.core.domain.records import Key, Status, User, audit
from usher.core.errors import (
    IdentityAccountMissingError,
    IdentityAccountUnreadableError,
    IdentityCredentialsError,
    IdentityNotConfiguredError,
    IdentityRolesUnreadableError,
    IdentityUnavailableError,
    PlatformTokenError,
    UsherError,
)
from usher.core.log import elapsed_ms, get_logger
from usher.core.store import pushes as rows
from usher.core.store.database import Database, Transaction, again_on_conflict
from usher.core.store.pushes import Backlog, Failure, PendingPush
from usher.core.users import UserService

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient

LONGEST_WAIT_SECONDS: Final = 60
AWAY_SECONDS: Final = 15
"""After Identity was away, changes stay pending for so long without a push at once."""
LEASE: Final = timedelta(seconds=60)
"""Time that a push has from one step to the next, for one call of Identity at most: two time-outs
and a pause. After it another server may begin the push again."""
FOUND: Final = "found at Identity, by whose admin API it was looked at"
STEP: Final = 20
ATTEMPTS: Final = 5
"""Attempts of one push; another one follows where something was changed meanwhile."""


class Pushed(Struct, frozen=True):
    """The result of one run of ``push_pending``.

    Attributes:
        settled: number of users of whom Identity now knows all.
        left: number of pending pushes, those included that are not due yet.
        error: why the run ended early, or the last failed push failed; empty: nothing failed.
    """

    settled: int
    left: int
    error: str


class _Step(Enum):
    SETTLED = auto()
    AGAIN = auto()
    LATER = auto()
    """Told, but an answer to an event may be on its way there and undo it; look again later."""


class Pushes:
    """The pushes to one Identity.

    Args:
        identity: None where there is no way to Identity.
        clock: gives the current time, UTC.
        observes: whether Identity is told nothing now; pushes stay pending.
    """

    def __init__(
        self,
        database: Database,
        users: UserService,
        identity: IdentityClient | None,
        clock: Callable[[], datetime],
        *,
        observes: bool = False,
    ) -> None:
        self._database = database
        self._users = users
        self._identity = identity
        self._clock = clock
        self._observes = observes
        self._away_until = 0.0

    def push(self, user: User) -> User:
        """Push one user's change at once, if one is pending.

        Failures are logged, not raised: the change itself is made, and the push stays pending.

        Returns:
            The record as it is afterwards.
        """
        if self._observes or not user.at_identity.pending or time.monotonic() < self._away_until:
            return user
        if self._is_waiting:
            return user
        try:
            self._try((user.instance_id, user.id), due=False)
            return self._users.get(user.id)
        except UsherError as error:  # the database's; the push comes due again by itself
            get_logger().warning(
                "push.failed", code=error.code, detail=error.detail, user_id=str(user.id), tries=0
            )
            return user

    def push_pending(self, limit: int = 100) -> Pushed:
        """Make the pushes that are due.

        The run ends early where Identity is away, refuses our credentials, or is not configured,
        and where the platform gave no token for it.

        Args:
            limit: pushes at most.

        Raises:
            DatabaseError: the database cannot be used.
        """
        settled, error, _ = self._run(limit)
        return Pushed(settled, self.backlog().count, error)

    def step(self) -> bool:
        """Make up to ``STEP`` due pushes, for the periodic tasks; True where there may be more.

        A push that fails is due again later, and keeps no other waiting.

        Raises:
            DatabaseError: the database cannot be used.
        """
        return self._run(STEP)[2]

    def are_due(self) -> bool:
        """Whether a push would be made now."""
        with self._database.read() as transaction:
            return bool(rows.due_keys(transaction.sql, self._clock(), 1))

    def backlog(self) -> Backlog:
        """All pending pushes in a few numbers."""
        with self._database.read() as transaction:
            return rows.backlog(transaction.sql)

    def failures(self) -> list[Failure]:
        """The pending pushes that failed, by the code of the error."""
        with self._database.read() as transaction:
            return rows.failures(transaction.sql)

    def of(self, user: User) -> PendingPush | None:
        """The pending push of one user, if there is one."""
        if not user.at_identity.pending:
            return None
        with self._database.read() as transaction:
            return rows.pending_push(transaction.sql, (user.instance_id, user.id))

    def _run(self, limit: int) -> tuple[int, str, bool]:
        """How many were settled, the last error, and whether there may be more to do at once."""
        settled, error = 0, ""
        if self._observes:
            return settled, error, False
        if self._is_waiting:
            error = _told(PlatformTokenError("There is no token of the platform now."))
            return settled, error, False
        with self._database.read() as transaction:
            due = rows.due_keys(transaction.sql, self._clock(), limit)
        for key in due:
            if self._identity is not None and not self._identity.may_call:
                return settled, error, False
            outcome = self._try(key, due=True)
            if outcome is _Step.SETTLED:
                settled += 1
            elif isinstance(outcome, UsherError):
                error = _told(outcome)
                if isinstance(outcome, IdentityUnavailableError | IdentityNotConfiguredError):
                    return settled, error, False
        return settled, error, len(due) == limit

    def _try(self, key: Key, *, due: bool) -> _Step | UsherError | None:
        """One push under a lease; None where another server is at it."""
        started, lease = time.perf_counter(), uuid4()
        tries = self._claim(key, lease, due=due)
        if not tries:
            return None
        fields = {"user_id": str(key[1]), "tries": tries}
        try:
            step = self._make_attempts(key, lease)
        except PlatformTokenError as error:
            # A stranger may have sent the token: no try is counted, and nothing is put off.
            with self._database.write() as transaction:
                rows.give_back(transaction.sql, key, lease, self._clock())
            return error
        except UsherError as error:
            if isinstance(error, IdentityAccountMissingError) and self._end(key, lease):
                return _Step.SETTLED
            error = self._of_account(error)
            if isinstance(error, IdentityUnavailableError):
                self._away_until = time.monotonic() + AWAY_SECONDS
            get_logger().warning(
                "push.failed",
                duration_ms=elapsed_ms(started),
                code=error.code,
                detail=error.detail,
                **fields,
            )
            # Jitter: pushes that failed together must not come back together.
            wait = min(LONGEST_WAIT_SECONDS, 2 ** min(tries, 9)) * random.uniform(0.5, 1.0)  # noqa: S311
            self._postpone(key, lease, wait, _told(error))
            return error
        self._away_until = 0.0
        if step is not _Step.SETTLED:
            self._postpone(key, lease, IN_FLIGHT_SECONDS, "")
        get_logger().info(
            "push.done",
            duration_ms=elapsed_ms(started),
            settled=step is _Step.SETTLED,
            **fields,
        )
        return step

    @property
    def _is_waiting(self) -> bool:
        return self._identity is not None and self._identity.is_waiting

    def _of_account(self, error: UsherError) -> UsherError:
        """The error, told as the account's where Identity fails for that account alone."""
        if isinstance(error, IdentityCredentialsError) or self._identity is None:
            return error
        if not isinstance(error, IdentityUnavailableError) or self._identity.is_away():
            return error
        return IdentityAccountUnreadableError(error.detail, "no_answer")

    def _make_attempts(self, key: Key, lease: UUID) -> _Step:
        identity = self._identity
        if identity is None or not identity.is_admin:
            raise IdentityNotConfiguredError("There are no credentials for Identity's admin API.")
        for _ in range(ATTEMPTS):
            step = self._attempt(identity, key, lease)
            if step is not _Step.AGAIN:
                return step
        return _Step.LATER

    def _attempt(self, identity: IdentityClient, key: Key, lease: UUID) -> _Step:
        user = self._user(key, lease)
        if user is None:
            return _Step.SETTLED
        if user.status is Status.DELETED:
            identity.delete(user.id)
            self._conclude_deletion(key, lease)
            return _Step.SETTLED
        found = _existing(identity.metadata(user.id))
        prepared = self._prepare(user, lease, found)
        if prepared is None:
            return _Step.AGAIN
        if prepared.writes:
            answer = _existing(identity.update(user.id, prepared.patch, prepared.of_person))
            if not self._conclude(key, lease, prepared, answer):
                return _Step.AGAIN
        if prepared.refused:
            raise IdentityRolesUnreadableError(
                f"At Identity, {prepared.refused}. Make it a list of role names there."
            )
        return _Step.LATER if prepared.unsettled else _Step.SETTLED

    # --- transactions --------------------------------------------------------------------------

    def _claim(self, key: Key, lease: UUID, *, due: bool) -> int:
        """Take the lease of a push (see ``rows.claim``)."""
        now = self._clock()
        with self._database.write() as transaction:
            return rows.claim(transaction.sql, key, lease, now, now + LEASE, due=due)

    def _user(self, key: Key, lease: UUID) -> User | None:
        """The record, while the lease is ours; None where it was lost."""
        with self._database.write() as transaction:
            return self._held(transaction, key, lease)

    def _prepare(self, seen: User, lease: UUID, found: IdentityUser) -> Prepared | None:
        """Merge the account into the record and note what will be written there.

        Args:
            seen: the record before Identity was asked.
            found: Identity's answer.

        Returns:
            None where an event changed what we know of the account meanwhile, or the lease was
            lost.
        """

        def work() -> Prepared | None:
            with self._database.write() as transaction:
                current = self._held(transaction, (seen.instance_id, seen.id), lease)
                if current is None or not same_view(current, seen):
                    return None
                prepared = prepare(current, found, self._clock())
                return replace(prepared, user=self._keep(transaction, current, prepared.user))

        return again_on_conflict(work)

    def _conclude(self, key: Key, lease: UUID, prepared: Prepared, answer: IdentityUser) -> bool:
        """Take in Identity's answer; True where it has all that it shall, or the lease was lost."""

        def work() -> bool:
            with self._database.write() as transaction:
                current = self._held(transaction, key, lease)
                if current is None:
                    return True
                user, done = conclude(current, prepared, answer, self._clock())
                self._keep(transaction, current, user)
                return done

        return again_on_conflict(work)

    def _conclude_deletion(self, key: Key, lease: UUID) -> None:
        """Note that the account is gone at Identity."""
        with self._database.write() as transaction:
            self._settle(transaction, key, lease)

    def _end(self, key: Key, lease: UUID) -> bool:
        """End the push of somebody whom ``usher trigger`` made up; False: it is tried again."""
        with self._database.write() as transaction:
            if not rows.is_made_up(transaction.sql, key):
                return False
            self._settle(transaction, key, lease)
        get_logger().info("push.ended", user_id=str(key[1]))
        return True

    def _settle(self, transaction: Transaction, key: Key, lease: UUID) -> None:
        """Note that there is no account at Identity to be told."""
        current = self._held(transaction, key, lease)
        if current is not None:
            settled = replace(current, at_identity=current.at_identity.settled())
            self._keep(transaction, current, settled)

    def _postpone(self, key: Key, lease: UUID, seconds: float, error: str) -> None:
        """Give the lease back (see ``rows.postpone``)."""
        until = self._clock() + timedelta(seconds=seconds)
        with self._database.write() as transaction:
            rows.postpone(transaction.sql, key, lease, until, error)

    def _held(self, transaction: Transaction, key: Key, lease: UUID) -> User | None:
        """The record, locked, with the lease prolonged; None where the lease was lost."""
        user = self._users.load(transaction, [key]).get(key)
        until = self._clock() + LEASE
        return user if rows.renew(transaction.sql, key, lease, until) else None

    def _keep(self, transaction: Transaction, current: User, changed: User) -> User:
        key = (current.instance_id, current.id)
        now = self._clock()
        entry = audit("user.changed", ACTOR, current, changed, now, FOUND)
        if entry is not None:
            changed = replace(changed, updated_at=now, version=current.version + 1)
        entries = [entry] if entry is not None else []
        self._users.store(transaction, {key: current}, {key: changed}, entries)
        return changed


def _existing(account: IdentityUser | None) -> IdentityUser:
    if account is None:
        raise IdentityAccountMissingError("Identity has no such account.")
    return account


def _told(error: UsherError) -> str:
    return f"{error.code}: {error.detail}"[:300]
