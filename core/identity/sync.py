"""The sync: Identity's accounts compared with the records, and differences mended (docs/sync.md).

There are two walks, both paged, so that memory stays small however many users there are. The first
goes over Identity's pages: each page is compared with the records of its ids, and the ids are
marked in the database. A page that cannot be read is asked for in smaller ones; an account that
cannot be read even alone is named, and never taken for missing. The second goes over the records:
each one without a mark is asked for at Identity by id, since pages move when accounts are deleted
meanwhile. Every step commits its changes together with the progress.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from usher.core.domain.sync_plan import UNREADABLE, Completed, Phase, Plan, Progress, Run
from usher.core.errors import (
    IdentityNotConfiguredError,
    InstanceUnknownError,
    ObservingError,
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
from usher.core.store.instances import Instances
from usher.core.users import UserService

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient

RESUMED_WITHIN: Final = timedelta(hours=24)
PERIODIC: Final = Plan(pull=True, push=True)
"""No removals: in a periodic run nobody would see that one was refused, or say that it is meant."""


class Sync:
    """The sync of one database with one Identity.

    Args:
        identity: None where there is no way to Identity.
        clock: gives the current time, UTC.
        instances: say whose the accounts are.
        interval_seconds: from the end of a complete run to the next periodic one.
        pending_days: ``USHER_PENDING_DAYS``.
        observes: whether Identity is told nothing now.
        sleep: waits for a number of seconds.
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
        instances: Instances,
        interval_seconds: int,
        pending_days: int = 0,
        observes: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._users = users
        self._policy = policy
        self._identity = identity
        self._pushes = pushes
        self._clock = clock
        self._instances = instances
        self._pending_days = pending_days
        self._observes = observes
        self._interval = timedelta(seconds=interval_seconds)
        self._sleep = sleep
        self._periodic: Generator[Run, None, None] | None = None

    def completed(self) -> Completed | None:
        """The last complete run, if there was one."""
        with self._database.read() as transaction:
            return rows.completed(transaction.sql, self._instances.shown(transaction))

    def is_due(self) -> bool:
        """Whether a periodic run is to be begun or gone on with."""
        if self._periodic is not None:
            return True
        last = self.completed()
        return last is None or last.at + self._interval <= self._clock()

    def step(self) -> bool:
        """One step of a periodic run, if one is due; True where there is more to do at once.

        A periodic run mends both sides. Of several workers and servers, one makes it. None is made
        before the instance is known, nor while the platform gives no token for Identity.

        Raises:
            UsherError: any other error of ``run``.
        """
        if self._identity is not None and self._identity.is_waiting:
            return False
        if not self.is_due():
            return False
        if self._periodic is None:
            self._periodic = self.run(PERIODIC, wait=False)
        try:
            if next(self._periodic, None) is not None:
                return True
        except (SyncRunningError, InstanceUnknownError):
            pass  # another worker or server makes it; or no event has come yet
        except UsherError:
            self._periodic = None
            raise
        self._periodic = None
        return False

    def pause(self) -> None:
        """Give back the lease of a periodic run that is not complete; any process may go on.

        Raises:
            DatabaseError: the database cannot be used; the lease ends by itself.
        """
        periodic, self._periodic = self._periodic, None
        if periodic is not None:
            periodic.close()

    def run(
        self, plan: Plan, *, force: bool = False, restart: bool = False, wait: bool = True
    ) -> Generator[Run, None, None]:
        """Compare, and mend as the plan says; yields the run at the start and after every step.

        After an exception, or when the iterator is closed, a later call can resume the run.

        Args:
            force: go on although nobody is in common, or too much would be removed.
            restart: begin anew instead of resuming an interrupted run.
            wait: for a run without a sign of life to count as dead.

        Raises:
            IdentityNotConfiguredError: no admin credentials are set.
            ObservingError: the plan pushes, and nothing is to be told to Identity.
            IdentityUnavailableError: Identity did not answer.
            SyncRunningError: another process makes the run.
            SyncStrangerError: accounts and records have nobody in common.
            InstanceUnknownError: the plan pulls, and no live event or setting names the instance.
            SeveralInstancesError: no instance is chosen, and the records are of several.
            DatabaseError: the database cannot be used.
        """
        client = self._client()
        if self._observes and plan.push:
            raise ObservingError("Identity is told nothing while USHER_MODE is observe.")
        run = self._begin_patiently(plan, restart=restart, wait=wait)
        started = time.perf_counter()
        fields: dict[str, Any] = {"plan": plan.name, "run_id": str(run.id)}
        get_logger().info("sync.begun", resumed=run.resumed, page=run.progress.at.page, **fields)
        work = Steps(
            self._database,
            self._users,
            self._policy,
            Accounts(client, self._sleep),
            self._pushes,
            self._clock,
            plan,
            force=force,
            pending_days=self._pending_days,
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
            with self._database.write() as transaction:
                rows.release(transaction.sql, run, self._clock())
        left = sum(run.progress.left.values())
        fields |= _counts(run) | {"duration_ms": elapsed_ms(started)}
        get_logger().info("sync.done", left=left, **fields)

    def _client(self) -> IdentityClient:
        client = self._identity
        if client is None or not client.is_admin:
            raise IdentityNotConfiguredError(
                "A sync needs USHER_IDENTITY_URL, and USHER_IDENTITY_ADMIN_TOKEN or "
                "USHER_JWT_SECRET; or, inside Netlify, USHER_USE_PLATFORM_TOKEN."
            )
        return client

    def _begin_patiently(self, plan: Plan, *, restart: bool, wait: bool) -> Run:
        """Begin; wait for a dead run's lease to end. A living run renews its lease."""
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
        """Begin a run, or resume an interrupted one of the same plan."""
        now, lease = self._clock(), uuid4()
        until = now + rows.LEASE
        with self._database.write() as transaction:
            instance_id = self._instances.shown(transaction)
            if plan.pull:  # it makes records
                instance_id = self._instances.known(transaction).settled()
            row = rows.sync_row(transaction.sql, instance_id)
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
                rows.change_sync(transaction.sql, instance_id, **values)
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
                rows.drop_marks(transaction.sql, row["run_id"])
                rows.change_sync(transaction.sql, instance_id, **values)
            else:
                never: dict[str, Any] = {
                    "completed_at": None,
                    "completed_plan": "",
                    "completed_left": {},
                }
                rows.insert_sync(transaction.sql, {"instance_id": instance_id, **values, **never})
            return run


def _counts(run: Run) -> dict[str, int]:
    return {
        "accounts": run.progress.accounts,
        "records": run.progress.records,
        "found": sum(run.progress.found.values()),
        "mended": sum(run.progress.mended.values()),
        "unreadable": run.progress.found.get(UNREADABLE, 0),
    }
