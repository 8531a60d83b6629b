"""The steps of a sync: a page of accounts, of records, or of removals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from usher.core.domain.events import IdentityUser
from usher.core.domain.records import Status, User
from usher.core.domain.sync import Kind, Mending, compare
from usher.core.domain.sync_plan import (
    MOST_NAMED,
    Mark,
    Phase,
    Plan,
    Progress,
    Run,
    Unreadable,
)
from usher.core.domain.unconfirmed import is_given_up
from usher.core.errors import (
    IdentityAccountUnreadableError,
    IdentityAnswerTooLargeError,
    SyncStrangerError,
)
from usher.core.identity.client import first_id
from usher.core.identity.push import Pushes
from usher.core.identity.sync_accounts import Accounts, ids_of, named
from usher.core.identity.sync_removals import Removals
from usher.core.log import get_logger
from usher.core.policy_source import PolicyInForce
from usher.core.store import syncs as rows
from usher.core.store.database import Database, again_on_conflict
from usher.core.users import UserService

RECORDS_AT_ONCE: Final = 200
LOOKS: Final = 3
"""Repeated look-ups of an account whose record changes at the same time."""
SAMPLE: Final = 5


class Steps:
    """The steps of one run; each commits its changes together with the progress.

    Args:
        clock: gives the current time, UTC.
        force: go on although nobody is in common, or too much would be removed.
        pending_days: ``USHER_PENDING_DAYS``.
    """

    def __init__(
        self,
        database: Database,
        users: UserService,
        policy: PolicyInForce,
        accounts: Accounts,
        pushes: Pushes,
        clock: Callable[[], datetime],
        plan: Plan,
        *,
        force: bool,
        pending_days: int,
    ) -> None:
        self._database = database
        self._users = users
        self._policy = policy
        self._accounts = accounts
        self._pushes = pushes
        self._clock = clock
        self._plan = plan
        self._force = force
        self._pending_days = pending_days
        self._removals = Removals(database, users, accounts, pushes, plan, force=force)

    def step(self, run: Run) -> Run:
        """One page of accounts, of records or of removals; the run afterwards.

        Raises:
            IdentityUnavailableError: Identity did not answer.
            SyncStrangerError: accounts and records have nobody in common.
            SyncRunningError: another process has taken the run over.
            DatabaseError: the database cannot be used.
        """
        if run.progress.phase is Phase.ACCOUNTS:
            return self._compare_page(run)
        if run.progress.phase is Phase.RECORDS:
            return self._look_for_records(run)
        return self._remove(run)

    # --- accounts ----------------------------------------------------------------------------

    def _compare_page(self, run: Run) -> Run:
        place = run.progress.at
        asked_at = self._clock()
        try:
            page = self._accounts.page(place)
        except IdentityAccountUnreadableError as error:
            return self._ask_for_less(run, error)
        if self._accounts.have_moved(place):
            return self._keep(replace(run, progress=run.progress.back()))
        if not run.progress.accounts and not self._force:
            self._not_a_stranger(run, [UUID(user_id) for user_id in ids_of(page) if user_id])
        run = self._name(run, page.unreadable)
        after = replace(
            run.progress,
            at=place.after(len(page.accounts), ids_of(page)),
            phase=Phase.ACCOUNTS if page.more else Phase.RECORDS,
            total=run.progress.total if page.total is None else page.total,
        )
        return self._settle(run, page.users, asked_at, after)

    def _ask_for_less(self, run: Run, error: IdentityAccountUnreadableError) -> Run:
        """Make the next page smaller; an account that fails alone is named and passed by."""
        place = run.progress.at
        if place.size > 1:
            return self._keep(replace(run, progress=replace(run.progress, at=place.smaller())))
        start = error.start if isinstance(error, IdentityAnswerTooLargeError) else b""
        account = named(error, first_id(start), place.offset + 1)
        run = self._name(run, [account])
        after = replace(run.progress, at=place.after(1, [account.id]))
        return self._keep(replace(run, progress=after))

    def _name(self, run: Run, unreadable: Sequence[Unreadable]) -> Run:
        """Name accounts that cannot be read, and mark those whose id is known as seen."""
        if not unreadable:
            return run
        ids = [UUID(account.id) for account in unreadable if account.id]
        with self._database.write() as transaction:
            known = set(map(str, rows.marked(transaction.sql, run.id, ids)))
            new = [account for account in unreadable if account.id not in known]
            rows.put_marks(transaction, run.id, dict.fromkeys(ids, Mark.SEEN))
            run = replace(run, progress=run.progress.naming(new))
            rows.keep_progress(transaction.sql, run, self._clock())
        _log(new)
        return run

    def _not_a_stranger(self, run: Run, ids: Sequence[UUID]) -> None:
        """Refuse an Identity that shares nobody with us, before anything is mended."""
        with self._database.read() as transaction:
            sample = rows.some_ids(transaction.sql, run.instance_id, SAMPLE)
            known = rows.known_ids(transaction.sql, run.instance_id, ids)
        if not sample or known or any(map(self._accounts.exists, sample)):
            return
        raise SyncStrangerError(
            f"None of Identity's first {len(ids)} accounts is known here, and none of "
            f"{len(sample)} users looked for there exists. Is USHER_IDENTITY_URL the right one? "
            "If it is, repeat with --force."
        )

    def _settle(
        self, run: Run, people: Sequence[IdentityUser], asked_at: datetime, progress: Progress
    ) -> Run:
        """Compare accounts; ask again for those whose records are changing, ``LOOKS`` times."""
        run, moving = self._compare(run, people, asked_at, progress, {})
        for _ in range(LOOKS):
            if not moving:
                break
            asked_at = self._clock()
            again = self._ask_again(moving)
            run, moving = self._compare(run, again, asked_at, run.progress, moving)
        return run

    def _ask_again(self, ids: Iterable[UUID]) -> list[IdentityUser]:
        """Those of the accounts that are there and can be read."""
        found = []
        for user_id in ids:
            with suppress(IdentityAccountUnreadableError):
                found.append(self._accounts.account(user_id))
        return [person for person in found if person is not None]

    def _compare(
        self,
        run: Run,
        people: Sequence[IdentityUser],
        asked_at: datetime,
        progress: Progress,
        views: Mapping[UUID, User],
    ) -> tuple[Run, Mapping[UUID, User]]:
        """Mend, then push; the run afterwards, and the records that were changing meanwhile."""
        run, told, moving = again_on_conflict(
            lambda: self._mend(run, people, asked_at, progress, views)
        )
        return self._push(run, told), moving

    def _mend(
        self,
        run: Run,
        people: Sequence[IdentityUser],
        asked_at: datetime,
        progress: Progress,
        views: Mapping[UUID, User],
    ) -> tuple[Run, list[User], dict[UUID, User]]:
        """Compare accounts with their records and mend as the plan says, in one transaction.

        Args:
            asked_at: when Identity was asked; a record changed since is newer than the account.
            progress: of the run afterwards, but for its counts.
            views: records as they were before Identity was asked. A record that is unchanged since
                is compared, however new it is.

        Returns:
            The run afterwards; users to be pushed now; records that changed since Identity was
            asked, as they are now.
        """
        now = self._clock()
        instance_id = run.instance_id
        mending = Mending(self._plan, self._policy.current if self._plan.pull else None, now)
        moving: dict[UUID, User] = {}
        marks: dict[UUID, Mark] = {}
        with self._database.write() as transaction:
            known = rows.marked(transaction.sql, run.id, [person.id for person in people])
            new = [person for person in people if person.id not in known]
            before = self._users.load(transaction, [(instance_id, person.id) for person in new])
            after = dict(before)
            for person in new:
                key = (instance_id, person.id)
                record = before.get(key)
                if record is None and is_given_up(person, now, self._pending_days):
                    marks[person.id] = Mark.SEEN
                    continue
                kinds = compare(person, record, now)
                if record is not None and kinds and record.updated_at >= asked_at:
                    view = views.get(person.id)
                    if view is None or (view.version, view.updated_at, view.order) != (
                        record.version, record.updated_at, record.order
                    ):  # fmt: skip
                        moving[person.id] = record
                        continue
                marks[person.id] = Mark.REMAINS if Kind.DELETED_HERE in kinds else Mark.SEEN
                changed = mending.mend(instance_id, person, record, kinds)
                if changed is not None:
                    after[key] = changed
            rows.put_marks(transaction, run.id, marks)
            progress = replace(progress, accounts=progress.accounts + len(marks))
            progress = progress.counting(mending.found, mending.mended)
            odd_roles = (*progress.odd_roles, *mending.odd)[:MOST_NAMED]
            progress = replace(progress, odd_roles=odd_roles)
            run = replace(run, progress=progress)
            self._users.store(transaction, before, after, mending.entries)
            rows.keep_progress(transaction.sql, run, self._clock())
        _log(mending.odd)
        return run, mending.told, moving

    def _push(self, run: Run, told: Sequence[User]) -> Run:
        """Push the users that were marked; failed pushes stay pending."""
        for number, user in enumerate(told, 1):
            self._pushes.push(user)
            if number % 20 == 0:
                run = self._keep(run)
        return run

    # --- records -----------------------------------------------------------------------------

    def _look_for_records(self, run: Run) -> Run:
        """Ask for the account of each record that no page showed, by its id."""
        users, place, count = self._unseen(run, RECORDS_AT_ONCE)
        asked_at = self._clock()
        found, missing = [], []
        for number, user in enumerate(users, 1):
            try:
                person = self._accounts.account(user.id)
            except IdentityAccountUnreadableError as error:
                run = self._name_asked(run, user.id, error)
            else:
                if person is None:
                    missing.append(user.id)
                else:
                    found.append(person)
            if number % 20 == 0:
                run = self._keep(run)
        if found:
            run = self._settle(run, found, asked_at, run.progress)
        after = replace(run.progress, place=place, records=run.progress.records + count)
        if not place:
            after = replace(after, phase=Phase.REMOVALS)
        return self._note_absent(run, missing, after)

    def _name_asked(self, run: Run, user_id: UUID, error: IdentityAccountUnreadableError) -> Run:
        """Name the account of a record, which is there and cannot be read."""
        account = named(error, str(user_id))
        with self._database.write() as transaction:
            rows.put_marks(transaction, run.id, {user_id: Mark.SEEN})
            run = replace(run, progress=run.progress.naming_asked(account))
            rows.keep_progress(transaction.sql, run, self._clock())
        _log([account])
        return run

    def _unseen(self, run: Run, limit: int) -> tuple[list[User], str, int]:
        """The next records that the run did not see at Identity.

        Pending ones are none: anybody makes them by signing up, and maintenance removes them.

        Returns:
            The records; the place after all that were looked at (empty: no more); their number.
        """
        place = UUID(run.progress.place) if run.progress.place else None
        with self._database.write() as transaction:
            ids = rows.ids_after(transaction.sql, run.instance_id, place, limit)
            seen = rows.marked(transaction.sql, run.id, ids)
            keys = [(run.instance_id, user_id) for user_id in ids if user_id not in seen]
            found = self._users.load(transaction, keys).values()
        users = [user for user in found if user.status is not Status.PENDING]
        return users, str(ids[-1]) if ids else "", len(ids)

    def _note_absent(self, run: Run, ids: Sequence[UUID], progress: Progress) -> Run:
        """Mark users that have a record here and, as Identity said of each, no account there."""
        with self._database.write() as transaction:
            rows.put_marks(transaction, run.id, dict.fromkeys(ids, Mark.ABSENT))
            found = {Kind.MISSING_THERE.value: len(ids)} if ids else {}
            run = replace(run, progress=progress.counting(found, {}))
            rows.keep_progress(transaction.sql, run, self._clock())
        return run

    # --- removals, and the end ---------------------------------------------------------------

    def _remove(self, run: Run) -> Run:
        after = self._removals.step(run) if self._plan.prune else None
        return self._complete(run) if after is None else self._keep(after)

    def _complete(self, run: Run) -> Run:
        if self._plan.push:
            # Pushes that an interrupted run marked and did not get to.
            self._pushes.push_pending()
        refused = self._removals.refused(run) if self._plan.prune else ""
        return self._conclude(replace(run, progress=replace(run.progress, refused=refused)))

    def _conclude(self, run: Run) -> Run:
        """Store the result of a complete run and remove its marks."""
        with self._database.write() as transaction:
            pending = rows.pending_of(transaction.sql, run.instance_id) if self._plan.push else 0
            found = run.progress.counting({"pending": pending} if pending else {}, {})
            run = replace(run, progress=replace(found, phase=Phase.DONE))
            rows.keep_progress(transaction.sql, run, self._clock())
            rows.drop_marks(transaction.sql, run.id)
            rows.change_sync(
                transaction.sql,
                run.instance_id,
                completed_at=self._clock(),
                completed_plan=self._plan.name,
                completed_left=run.progress.left,
            )
        return run

    def _keep(self, run: Run) -> Run:
        """Store the progress of the run."""
        with self._database.write() as transaction:
            rows.keep_progress(transaction.sql, run, self._clock())
        return run


def _log(accounts: Iterable[Unreadable]) -> None:
    """Name accounts in the log, for a run that nobody watches."""
    for each in accounts:
        get_logger().warning(
            "sync.unreadable",
            user_id=each.id,
            number=each.number,
            trouble=each.trouble.value,
            detail=each.why,
        )
