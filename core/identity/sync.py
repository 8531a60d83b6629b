"""The records compared with Identity's accounts, and what differs mended (docs/sync.md).

Two walks, both paged, in little memory however many users there are. First over Identity's pages:
each page is compared with the records of its ids, and its ids are noted in the database. Then over
the records: who was not noted is asked for at Identity by name, for pages move when accounts are
deleted meanwhile. Every step commits what it changed together with how far it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from usher.core.domain.sync_plan import Completed, Phase, Plan, Progress, Run
from usher.core.errors import (
    IdentityNotConfiguredError,
    InstanceUnknownError,
    SyncRunningError,
    UsherError,
)
from usher.core.identity.push import Pushes
from usher.core.identity.sync_accounts import Accounts
from usher.core.identity.sync_steps import Steps
from usher.core.log import elapsed_ms, get_logger
from usher.core.policy_source import PolicyInForce
from usher.core.store import syncs as rows
from usher.core.store.database import Database, again_on_conflict
from usher.core.store.instances import ZERO, known_instance
from usher.core.users import UserService

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient

RESUMED_WITHIN: Final = timedelta(hours=24)
PERIODIC: Final = Plan(pull=True, push=True)
"""Never a removal: nobody would see that it was refused, or that it was meant."""


class Sync:
    """Synchronises one database with one Identity.

    Args:
        identity: None where there is no way to Identity.
        clock: the current time, UTC.
        instance_id: the configured one.
        interval_seconds: between the end of one periodic run and the next.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        database: Database,
        users: UserService,
        policy: PolicyInForce,
        identity: IdentityClient | None,
        pushes: Pushes,
        clock: Callable[[], datetime],
        *,
        instance_id: UUID | None,
        interval_seconds: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._users = users
        self._policy = policy
        self._identity = identity
        self._pushes = pushes
        self._clock = clock
        self._instance_id = instance_id
        self._interval = timedelta(seconds=interval_seconds)
        self._sleep = sleep
        self._periodic: Iterator[Run] | None = None

    def completed(self) -> Completed | None:
        """The last complete run."""
        with self._database.read() as connection:
            instance_id = known_instance(connection, self._instance_id)
            return rows.completed(connection, instance_id or ZERO)

    def step(self) -> bool:
        """One step of a periodic run, where one is due; whether there is more to do at once.

        It mends both sides; of several workers and servers one is at it.

        Raises:
            DatabaseError, IdentityUnavailableError, SyncStrangerError, SeveralInstancesError
        """
        if self._periodic is None:
            last = self.completed()
            if last is not None and last.at + self._interval > self._clock():
                return False
            self._periodic = self.run(PERIODIC, wait=False)
        try:
            if next(self._periodic, None) is not None:
                return True
        except SyncRunningError:
            pass  # another worker or server is at it
        except UsherError:
            self._periodic = None
            raise
        self._periodic = None
        return False

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
        run = self._begin_patiently(plan, restart=restart, wait=wait)
        started = time.perf_counter()
        fields: dict[str, Any] = {"plan": plan.name, "run_id": str(run.id)}
        get_logger().info("sync.begun", resumed=run.resumed, page=run.progress.page, **fields)
        work = Steps(
            self._database,
            self._users,
            self._policy,
            Accounts(client, self._sleep),
            self._pushes,
            self._clock,
            plan,
            force=force,
        )
        try:
            yield run
            while run.progress.phase is not Phase.DONE:
                run = work.step(run)
                yield run
        except UsherError as error:
            fields |= _counts(run) | {"duration_ms": elapsed_ms(started)}
            get_logger().warning("sync.stopped", code=error.code, **fields)
            raise
        finally:
            with self._database.write() as connection:
                rows.release(connection, run, self._clock())
        left = sum(run.progress.left.values())
        fields |= _counts(run) | {"duration_ms": elapsed_ms(started)}
        get_logger().info("sync.done", left=left, **fields)

    def _client(self) -> IdentityClient:
        client = self._identity
        if client is None or not client.is_admin:
            raise IdentityNotConfiguredError(
                "A sync needs USHER_IDENTITY_URL, and USHER_IDENTITY_ADMIN_TOKEN or "
                "USHER_JWT_SECRET."
            )
        return client

    def _begin_patiently(self, plan: Plan, *, restart: bool, wait: bool) -> Run:
        """A run that was killed still holds its lease; one that lives renews it."""
        until: object = None
        while True:
            try:
                return again_on_conflict(lambda: self._begin(plan, restart=restart))
            except SyncRunningError as error:
                if not wait or (until is not None and error.until != until):
                    raise
                until = error.until
                self._sleep(1.0)

    def _begin(self, plan: Plan, *, restart: bool) -> Run:
        """Begin a run, or go on with one of the same plan that was interrupted."""
        now, lease = self._clock(), uuid4()
        until = now + rows.LEASE
        with self._database.write() as connection:
            instance_id = known_instance(connection, self._instance_id)
            if instance_id is None and plan.pull:
                raise InstanceUnknownError(
                    "No event has told yet which Identity instance this is. Set USHER_INSTANCE_ID "
                    f"({ZERO} for a GoTrue server of your own), or let somebody log in first."
                )
            instance_id = ZERO if instance_id is None else instance_id
            row = rows.sync_row(connection, instance_id)
            if row is not None and not rows.is_free(row, now):
                raise SyncRunningError(
                    f"Another sync is under way (begun at {row['started_at']:%H:%M:%S} UTC). One "
                    "that was killed can be gone on with a minute later.",
                    row["lease_until"],
                )
            if (
                row is not None
                and not restart
                and row["plan"] == plan.name
                and not rows.is_done(row)
                and row["started_at"] > now - RESUMED_WITHIN
            ):
                values = {"lease": lease, "lease_until": until}
                rows.change_sync(connection, instance_id, **values)
                progress = Progress.read(row["progress"])
                begun = row["started_at"]
                return Run(row["run_id"], instance_id, lease, begun, progress, resumed=True)
            run = Run(uuid4(), instance_id, lease, now, Progress())
            values = {
                "run_id": run.id,
                "plan": plan.name,
                "started_at": now,
                "progress": run.progress.document(),
                "lease": lease,
                "lease_until": until,
            }
            if row is not None:
                rows.drop_marks(connection, row["run_id"])
                rows.change_sync(connection, instance_id, **values)
            else:
                never: dict[str, Any] = {
                    "completed_at": None,
                    "completed_plan": "",
                    "completed_left": {},
                }
                rows.insert_sync(connection, {"instance_id": instance_id, **values, **never})
            return run


def _counts(run: Run) -> dict[str, int]:
    return {
        "accounts": run.progress.accounts,
        "records": run.progress.records,
        "found": sum(run.progress.found.values()),
        "mended": sum(run.progress.mended.values()),
    }
