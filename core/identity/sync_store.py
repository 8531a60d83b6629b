"""The transactions of a synchronisation: what a step changes and how far it is, in one commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from usher.core.domain.events import IdentityUser
from usher.core.domain.policy import Policy
from usher.core.domain.records import AuditEntry, Status, User, audit
from usher.core.domain.sync import PULLED, PUSHED, Kind, adopt, compare
from usher.core.domain.sync_plan import Completed, Mark, Phase, Plan, Progress, Run
from usher.core.errors import InstanceUnknownError, SyncRunningError
from usher.core.store import syncs as sync_rows
from usher.core.store.database import Connection, Database, again_on_conflict
from usher.core.store.instances import ZERO, known_instance
from usher.core.users import Change, UserService

ACTOR: Final = "sync"
LEASE_SECONDS: Final = 60
"""How long a run that shows no sign of life holds others up."""
RESUMED_WITHIN: Final = timedelta(hours=24)
PENDING_GRACE: Final = timedelta(minutes=10)
"""How long a ``validate`` may be known here before its account can be seen at Identity."""
_LOST: Final = "Another process has taken this sync over."


@dataclass(frozen=True, slots=True)
class Settled:
    """What comparing some accounts came to.

    Attributes:
        run: the run, further on.
        told: users whose pushes are to be made now.
        moving: records that somebody changed since Identity was asked, as they are now; to be
            asked for again, one by one.
    """

    run: Run
    told: tuple[User, ...]
    moving: Mapping[UUID, User]


class SyncStore:
    """What synchronisations read and write.

    Args:
        clock: the current time, UTC.
        instance_id: the configured one.
    """

    def __init__(
        self,
        database: Database,
        users: UserService,
        policy: Callable[[], Policy],
        clock: Callable[[], datetime],
        instance_id: UUID | None,
    ) -> None:
        self._database = database
        self._users = users
        self._policy = policy
        self._clock = clock
        self._instance_id = instance_id

    # --- a run -------------------------------------------------------------------------------

    def begin(self, plan: Plan, *, restart: bool) -> Run:
        """Begin a run, or go on with one of the same plan that was interrupted.

        Raises:
            SyncRunningError, InstanceUnknownError, SeveralInstancesError
        """
        return again_on_conflict(lambda: self._begin(plan, restart=restart))

    def _begin(self, plan: Plan, *, restart: bool) -> Run:
        now, lease = self._clock(), uuid4()
        until = now + timedelta(seconds=LEASE_SECONDS)
        with self._database.write() as connection:
            instance_id = known_instance(connection, self._instance_id)
            if instance_id is None and plan.pull:
                raise InstanceUnknownError(
                    "No event has told yet which Identity instance this is. Set USHER_INSTANCE_ID "
                    f"({ZERO} for a GoTrue server of your own), or let somebody log in first."
                )
            instance_id = ZERO if instance_id is None else instance_id
            row = sync_rows.sync_row(connection, instance_id)
            if row is not None and not sync_rows.is_free(row, now):
                raise SyncRunningError(
                    f"Another sync is under way (begun at {row['started_at']:%H:%M:%S} UTC). One "
                    "that was killed can be gone on with a minute later.",
                    row["lease_until"],
                )
            if (
                row is not None
                and not restart
                and row["plan"] == plan.name
                and not sync_rows.is_done(row)
                and row["started_at"] > now - RESUMED_WITHIN
            ):
                values = {"lease": lease, "lease_until": until}
                sync_rows.change_sync(connection, instance_id, **values)
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
                sync_rows.drop_marks(connection, row["run_id"])
                sync_rows.change_sync(connection, instance_id, **values)
            else:
                never: dict[str, Any] = {
                    "completed_at": None,
                    "completed_plan": "",
                    "completed_left": {},
                }
                sync_rows.insert_sync(connection, {"instance_id": instance_id, **values, **never})
            return run

    def keep(self, run: Run) -> Run:
        """Keep how far the run is.

        Raises:
            SyncRunningError: another process has taken it over.
        """
        with self._database.write() as connection:
            self._keep(connection, run)
        return run

    def complete(self, run: Run, plan: Plan) -> Run:
        """The run is done; what it noted about single users goes."""
        with self._database.write() as connection:
            pending = sync_rows.pending_of(connection, run.instance_id) if plan.push else 0
            found = run.progress.counting({"pending": pending} if pending else {}, {})
            run = replace(run, progress=replace(found, phase=Phase.DONE))
            self._keep(connection, run)
            sync_rows.drop_marks(connection, run.id)
            sync_rows.change_sync(
                connection,
                run.instance_id,
                completed_at=self._clock(),
                completed_plan=plan.name,
                completed_left=run.progress.left,
            )
        return run

    def release(self, run: Run) -> None:
        """Give the lease back, at the end or when interrupted."""
        with self._database.write() as connection:
            sync_rows.release(connection, run, self._clock())

    def completed(self) -> Completed | None:
        """The last complete run."""
        with self._database.read() as connection:
            instance_id = known_instance(connection, self._instance_id)
            return sync_rows.completed(connection, instance_id or ZERO)

    # --- accounts ----------------------------------------------------------------------------

    def settle(
        self,
        run: Run,
        plan: Plan,
        people: Sequence[IdentityUser],
        asked_at: datetime,
        progress: Progress,
        views: Mapping[UUID, User] | None = None,
    ) -> Settled:
        """Compare accounts with their records and mend what the plan says, in one transaction.

        Args:
            asked_at: when Identity was asked about them; a record changed since is newer.
            progress: where the run is afterwards, its counts apart.
            views: records as they were before Identity was asked: if they still are, they may be
                as new as they like.

        Raises:
            SyncRunningError: another process has taken the run over.
        """
        return again_on_conflict(
            lambda: self._settle(run, plan, people, asked_at, progress, views or {})
        )

    def _settle(
        self,
        run: Run,
        plan: Plan,
        people: Sequence[IdentityUser],
        asked_at: datetime,
        progress: Progress,
        views: Mapping[UUID, User],
    ) -> Settled:
        now = self._clock()
        instance_id = run.instance_id
        step = _Step(plan, self._policy() if plan.pull else None, now)
        moving: dict[UUID, User] = {}
        marks: dict[UUID, Mark] = {}
        with self._database.write() as connection:
            known = sync_rows.marked(connection, run.id, [person.id for person in people])
            new = [person for person in people if person.id not in known]
            before = self._users.load(connection, [(instance_id, person.id) for person in new])
            after = dict(before)
            for person in new:
                key = (instance_id, person.id)
                record = before.get(key)
                kinds = compare(person, record, now)
                if record is not None and kinds and record.updated_at >= asked_at:
                    view = views.get(person.id)
                    if view is None or (view.version, view.updated_at, view.order) != (
                        record.version, record.updated_at, record.order
                    ):  # fmt: skip
                        moving[person.id] = record
                        continue
                marks[person.id] = Mark.REMAINS if Kind.DELETED_HERE in kinds else Mark.SEEN
                changed = step.mend(instance_id, person, record, kinds)
                if changed is not None:
                    after[key] = changed
            sync_rows.put_marks(connection, run.id, marks)
            progress = replace(progress, accounts=progress.accounts + len(marks))
            progress = progress.counting(step.found, step.mended)
            run = replace(run, progress=progress)
            self._users.store(connection, before, after, step.entries)
            self._keep(connection, run)
        return Settled(run, tuple(step.told), moving)

    # --- records -----------------------------------------------------------------------------

    def unseen(self, run: Run, limit: int) -> tuple[list[User], str, int]:
        """Of the next records those that the run did not see at Identity.

        Returns:
            Them, the place after all that were looked at (empty: no more), and how many that were.
        """
        place = UUID(run.progress.place) if run.progress.place else None
        horizon = self._clock() - PENDING_GRACE
        with self._database.write() as connection:
            ids = sync_rows.ids_after(connection, run.instance_id, place, limit)
            seen = sync_rows.marked(connection, run.id, ids)
            keys = [(run.instance_id, user_id) for user_id in ids if user_id not in seen]
            found = self._users.load(connection, keys).values()
        users = [u for u in found if u.status is not Status.PENDING or u.created_at < horizon]
        return users, str(ids[-1]) if ids else "", len(ids)

    def absent(self, run: Run, ids: Sequence[UUID], progress: Progress) -> Run:
        """Note who is here and not at Identity, which was asked about each."""
        with self._database.write() as connection:
            sync_rows.put_marks(connection, run.id, dict.fromkeys(ids, Mark.ABSENT))
            found = {Kind.MISSING_THERE.value: len(ids)} if ids else {}
            run = replace(run, progress=progress.counting(found, {}))
            self._keep(connection, run)
        return run

    def removals(self, run: Run, limit: int) -> list[tuple[UUID, Mark]]:
        """Who is next to be removed on one side or the other."""
        place = UUID(run.progress.place) if run.progress.place else None
        with self._database.read() as connection:
            return sync_rows.marks_after(connection, run.id, place, limit)

    def delete_here(self, user: User) -> None:
        """Leave a tombstone of a record, unless it has changed.

        Raises:
            PreconditionFailedError, LastAdministratorError, UserNotFoundError, UserDeletedError
        """
        change = Change(ACTOR, "not at Identity any more", version=user.version, known=True)
        self._users.delete(user, change)

    def delete_there(self, run: Run, user_id: UUID) -> User | None:
        """Have a tombstone's account deleted by a push; None where that is no tombstone."""
        key = (run.instance_id, user_id)
        with self._database.write() as connection:
            before = self._users.load(connection, [key])
            user = before.get(key)
            if user is None or user.status is not Status.DELETED:
                return None
            marked = replace(user, at_identity=user.at_identity.marked_pending())
            self._users.store(connection, before, {key: marked}, [])
            return marked

    # --- whose Identity this is --------------------------------------------------------------

    def known(self, run: Run, people: Sequence[IdentityUser]) -> int:
        """How many of these accounts have a record here."""
        with self._database.read() as connection:
            ids = [person.id for person in people]
            return sync_rows.known_ids(connection, run.instance_id, ids)

    def sample(self, run: Run, limit: int) -> list[UUID]:
        """Some active records, the oldest and the newest."""
        with self._database.read() as connection:
            return sync_rows.some_ids(connection, run.instance_id, limit)

    def _keep(self, connection: Connection, run: Run) -> None:
        until = self._clock() + timedelta(seconds=LEASE_SECONDS)
        if not sync_rows.keep_progress(connection, run, until):
            raise SyncRunningError(_LOST)


class _Step:
    """What one transaction mends, and the counts of it."""

    def __init__(self, plan: Plan, policy: Policy | None, now: datetime) -> None:
        self._plan = plan
        self._policy = policy
        self._now = now
        self.found: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self.entries: list[AuditEntry] = []
        self.told: list[User] = []

    def mend(
        self,
        instance_id: UUID,
        person: IdentityUser,
        record: User | None,
        kinds: tuple[Kind, ...],
    ) -> User | None:
        """The record as it shall be, and everything that follows; None where nothing changes."""
        user = record
        if self._policy is not None:
            user = adopt(instance_id, person, record, self._policy, self._now)
            # What the policy gives a newcomer may be more than Identity has.
            rest = compare(person, user, self._now)
            kinds = (*kinds, *(kind for kind in rest if kind not in kinds))
            self.mended.update(kind.value for kind in kinds if kind in PULLED)
            if user != record:
                user = self._audited(record, user)
        self.found.update(kind.value for kind in kinds)
        told = [kind.value for kind in kinds if kind in PUSHED] if self._plan.push else []
        if user is not None and told:
            self.mended.update(told)
            user = replace(user, at_identity=user.at_identity.marked_pending())
            self.told.append(user)
        return None if user is record else user

    def _audited(self, record: User | None, user: User) -> User:
        action = "user.changed" if record else "user.created"
        entry = audit(action, ACTOR, record, user, self._now, "found at Identity by a sync")
        if entry is None:
            return user
        self.entries.append(entry)
        if record is None:
            return user
        return replace(user, updated_at=self._now, version=record.version + 1)
