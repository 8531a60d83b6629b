"""Identity told of what was changed here: after our commit, outside any event, exactly once.

A change that Identity must learn of marks its user ``pending`` in the same transaction. A push
takes a lease on that mark, so that of two servers one does it; it holds no transaction while it
waits for Identity, whose own event about the change comes in meanwhile. What fails is tried again
by ``push_pending``: from the server's rounds, or from a command.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from usher.core.domain.at_identity import IN_FLIGHT_SECONDS
from usher.core.domain.events import IdentityUser
from usher.core.domain.records import Key, Status, User
from usher.core.errors import (
    IdentityAccountMissingError,
    IdentityNotConfiguredError,
    IdentityUnavailableError,
    UsherError,
)
from usher.core.log import get_logger, since

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient
    from usher.core.identity.push_store import PushStore
    from usher.core.store.pushes import Backlog, PendingPush
    from usher.core.users import UserService

LONGEST_WAIT_SECONDS: Final = 60
AWAY_SECONDS: Final = 15
"""How long whoever changes something does not wait for an Identity that was just away."""
STEP: Final = 20
ROUNDS: Final = 5
"""How often one push looks again because somebody changed something meanwhile."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What one run came to.

    Attributes:
        settled: how many users Identity knows of now.
        left: how many are pending still, those included whose time has not come.
        error: why the run ended early, or the last push failed; empty: nothing failed.
    """

    settled: int
    left: int
    error: str


class _Step(Enum):
    SETTLED = auto()
    AGAIN = auto()
    LATER = auto()
    """Told, but an answer to an event may be on its way there and undo it: look once more."""


class Pushes:
    """Tells one Identity.

    Args:
        identity: gives the client; None where there is no way to Identity.
    """

    def __init__(
        self,
        store: PushStore,
        users: UserService,
        identity: Callable[[], IdentityClient | None],
    ) -> None:
        self._store = store
        self._users = users
        self._identity = identity
        self._away_until = 0.0

    def push(self, user: User) -> User:
        """Tell Identity of one user's change at once, if there is anything to tell.

        Whatever goes wrong is logged and left pending: the change itself is made.

        Returns:
            The record as it is afterwards.
        """
        if not user.at_identity.pending or time.monotonic() < self._away_until:
            return user
        try:
            self._try((user.instance_id, user.id), due=False)
            return self._users.get(user.id)
        except UsherError as error:  # of the database: the push is due again by itself
            get_logger().warning(
                "push.failed", code=error.code, detail=error.detail, user_id=str(user.id), tries=0
            )
            return user

    def push_pending(self, limit: int = 100) -> Pushed:
        """Push what is due; ends early where Identity is away or refuses our credentials.

        Raises:
            DatabaseError
        """
        settled, error = self._run(limit)
        return Pushed(settled, self.backlog().count, error)

    def step(self) -> bool:
        """A little of ``push_pending``, for the server's rounds; whether there may be more.

        Raises:
            DatabaseError
        """
        return self._run(STEP)[0] == STEP

    def backlog(self) -> Backlog:
        """All that is pending, in a few numbers."""
        return self._store.backlog()

    def of(self, user: User) -> PendingPush | None:
        """What is pending of one user."""
        return self._store.of(user) if user.at_identity.pending else None

    def _run(self, limit: int) -> tuple[int, str]:
        settled, error = 0, ""
        for key in self._store.due(limit):
            outcome = self._try(key, due=True)
            if outcome is _Step.SETTLED:
                settled += 1
            elif isinstance(outcome, UsherError):
                error = _told(outcome)
                if isinstance(outcome, IdentityUnavailableError | IdentityNotConfiguredError):
                    break
        return settled, error

    def _try(self, key: Key, *, due: bool) -> _Step | UsherError | None:
        """One push under a lease; None where another server is at it."""
        started, lease = time.perf_counter(), uuid4()
        tries = self._store.claim(key, lease, due=due)
        if not tries:
            return None
        fields = {"user_id": str(key[1]), "tries": tries}
        try:
            step = self._rounds(key, lease)
        except UsherError as error:
            if isinstance(error, IdentityUnavailableError):
                self._away_until = time.monotonic() + AWAY_SECONDS
            get_logger().warning(
                "push.failed",
                duration_ms=since(started),
                code=error.code,
                detail=error.detail,
                **fields,
            )
            # Uneven, so that those who failed together do not come back together.
            wait = min(LONGEST_WAIT_SECONDS, 2 ** min(tries, 9)) * random.uniform(0.5, 1.0)  # noqa: S311
            self._store.postpone(key, lease, timedelta(seconds=wait), _told(error))
            return error
        self._away_until = 0.0
        if step is not _Step.SETTLED:
            self._store.postpone(key, lease, timedelta(seconds=IN_FLIGHT_SECONDS), "")
        get_logger().info(
            "push.done",
            duration_ms=since(started),
            settled=step is _Step.SETTLED,
            **fields,
        )
        return step

    def _rounds(self, key: Key, lease: UUID) -> _Step:
        identity = self._identity()
        if identity is None or not identity.is_admin:
            raise IdentityNotConfiguredError("There are no credentials for Identity's admin API.")
        for _ in range(ROUNDS):
            step = self._round(identity, key, lease)
            if step is not _Step.AGAIN:
                return step
        return _Step.LATER

    def _round(self, identity: IdentityClient, key: Key, lease: UUID) -> _Step:
        user = self._store.user(key, lease)
        if user is None:
            return _Step.SETTLED
        if user.status is Status.DELETED:
            identity.delete(user.id)
            self._store.conclude_deletion(key, lease)
            return _Step.SETTLED
        found = _existing(identity.user(user.id))
        prepared = self._store.prepare(user, lease, found)
        if prepared is None:
            return _Step.AGAIN
        if not prepared.patch:
            return _Step.LATER if prepared.unsettled else _Step.SETTLED
        answer = _existing(identity.update(user.id, app_metadata=prepared.patch))
        if not self._store.conclude(key, lease, prepared, answer):
            return _Step.AGAIN
        return _Step.LATER if prepared.unsettled else _Step.SETTLED


def _existing(account: IdentityUser | None) -> IdentityUser:
    if account is None:
        raise IdentityAccountMissingError("Identity has no such account.")
    return account


def _told(error: UsherError) -> str:
    return f"{error.code}: {error.detail}"[:300]
