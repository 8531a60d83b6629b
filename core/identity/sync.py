"""The records compared with Identity's accounts, and what differs mended (docs/sync.md).

Two walks, both paged, in little memory however many users there are. First over Identity's pages:
each page is compared with the records of its ids, and its ids are noted in the database. Then over
the records: who was not noted is asked for at Identity by name, for pages move when accounts are
deleted meanwhile. Every step commits what it changed together with how far it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from usher.core.domain.sync_plan import Completed, Phase, Plan, Run
from usher.core.errors import IdentityNotConfiguredError, SyncRunningError, UsherError
from usher.core.identity.sync_steps import Steps
from usher.core.log import get_logger, since

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient
    from usher.core.identity.push import Pushes
    from usher.core.identity.sync_store import SyncStore
    from usher.core.users import UserService


class Sync:
    """Synchronises one database with one Identity.

    Args:
        identity: gives the client; None where there is no way to Identity.
        clock: the current time, UTC.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        store: SyncStore,
        users: UserService,
        identity: Callable[[], IdentityClient | None],
        pushes: Callable[[], Pushes],
        clock: Callable[[], datetime],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._users = users
        self._identity = identity
        self._pushes = pushes
        self._clock = clock
        self._sleep = sleep

    def completed(self) -> Completed | None:
        """The last complete run."""
        return self._store.completed()

    def run(
        self, plan: Plan, *, force: bool = False, restart: bool = False, wait: bool = True
    ) -> Generator[Run, None, None]:
        """Compare, and mend what the plan says; yields after every step.

        Closing the iterator, or an exception, leaves the run to be gone on with.

        Args:
            force: even where nobody is in common, or too much would be removed.
            restart: do not go on with an interrupted run.
            wait: for a run without a sign of life to count as dead.

        Raises:
            IdentityUnavailableError, IdentityNotConfiguredError, SyncRunningError,
            SyncStrangerError, InstanceUnknownError, SeveralInstancesError, DatabaseError
        """
        client = self._client()
        run = self._begin(plan, restart=restart, wait=wait)
        started = time.perf_counter()
        fields: dict[str, Any] = {"plan": plan.name, "run_id": str(run.id)}
        get_logger().info("sync.begun", resumed=run.resumed, page=run.progress.page, **fields)
        work = Steps(
            self._store,
            self._users,
            client,
            self._pushes,
            plan,
            self._clock,
            self._sleep,
            force=force,
        )
        try:
            yield run
            while run.progress.phase is not Phase.DONE:
                run = work.step(run)
                yield run
        except UsherError as error:
            fields |= _counts(run) | {"duration_ms": since(started)}
            get_logger().warning("sync.stopped", code=error.code, **fields)
            raise
        finally:
            self._store.release(run)
        left = sum(run.progress.left.values())
        fields |= _counts(run) | {"duration_ms": since(started)}
        get_logger().info("sync.done", left=left, **fields)

    def _client(self) -> IdentityClient:
        client = self._identity()
        if client is None or not client.is_admin:
            raise IdentityNotConfiguredError(
                "A sync needs USHER_IDENTITY_URL, and USHER_IDENTITY_ADMIN_TOKEN or "
                "USHER_JWT_SECRET."
            )
        return client

    def _begin(self, plan: Plan, *, restart: bool, wait: bool) -> Run:
        """A run that was killed still holds its lease; one that lives renews it."""
        until: object = None
        while True:
            try:
                return self._store.begin(plan, restart=restart)
            except SyncRunningError as error:
                if not wait or (until is not None and error.until != until):
                    raise
                until = error.until
                self._sleep(1.0)


def _counts(run: Run) -> dict[str, int]:
    return {
        "accounts": run.progress.accounts,
        "records": run.progress.records,
        "found": sum(run.progress.found.values()),
        "mended": sum(run.progress.mended.values()),
    }
