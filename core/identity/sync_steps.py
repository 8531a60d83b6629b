"""The steps of a synchronisation: a page of accounts, of records, or of removals."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeVar
from uuid import UUID

from usher.core.domain.events import IdentityUser
from usher.core.domain.records import User
from usher.core.domain.sync import Kind
from usher.core.domain.sync_plan import (
    MOST_REMOVED_PERCENT,
    Mark,
    Phase,
    Plan,
    Progress,
    Run,
    too_many,
)
from usher.core.errors import (
    IdentityCredentialsError,
    IdentityUnavailableError,
    LastAdministratorError,
    PreconditionFailedError,
    SyncStrangerError,
    UserDeletedError,
    UserNotFoundError,
)
from usher.core.log import get_logger

if TYPE_CHECKING:
    from usher.core.identity.client import IdentityClient, UserPage
    from usher.core.identity.push import Pushes
    from usher.core.identity.sync_store import SyncStore
    from usher.core.users import UserService

PER_PAGE: Final = 200
ATTEMPTS: Final = 4
FIRST_PAUSE_SECONDS: Final = 1.0
ANCHORS: Final = 4
"""How many pages a run can go back when it sees that they have moved."""
LOOKS: Final = 3
"""How often an account is asked for whose record changes at the same time."""
SAMPLE: Final = 5

Answer = TypeVar("Answer")


class Steps:
    """The steps of one run.

    Args:
        force: even where nobody is in common, or too much would be removed.
        clock: the current time, UTC.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        store: SyncStore,
        users: UserService,
        client: IdentityClient,
        pushes: Callable[[], Pushes],
        plan: Plan,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        *,
        force: bool,
    ) -> None:
        self._store = store
        self._users = users
        self._client = client
        self._pushes = pushes
        self._plan = plan
        self._clock = clock
        self._sleep = sleep
        self._force = force

    def step(self, run: Run) -> Run:
        """One page of accounts, of records or of removals."""
        if run.progress.phase is Phase.ACCOUNTS:
            return self._accounts(run)
        if run.progress.phase is Phase.RECORDS:
            return self._records(run)
        return self._removals(run)

    # --- accounts ----------------------------------------------------------------------------

    def _accounts(self, run: Run) -> Run:
        progress = run.progress
        asked_at = self._clock()
        page = self._patiently(lambda: self._page(progress.page))
        if progress.page == 1 and not self._force:
            self._not_a_stranger(run, page.users)
        if self._moved(progress):
            back = replace(
                progress,
                page=progress.page - 1,
                anchors=progress.anchors[:-1],
                steps_back=progress.steps_back + 1,
            )
            return self._store.keep(replace(run, progress=back))
        anchors = (*progress.anchors, str(page.users[-1].id)) if page.users else ()
        after = replace(
            progress,
            page=progress.page + 1,
            phase=Phase.ACCOUNTS if page.more else Phase.RECORDS,
            anchors=anchors[-ANCHORS:],
            steps_back=0,
            total=progress.total if page.total is None else page.total,
        )
        return self._settle(run, page.users, asked_at, after)

    def _page(self, number: int) -> UserPage:
        """A whole page, or an error: half of one would make the rest look missing."""
        page = self._client.users(number, PER_PAGE)
        got = len(page.users)
        before = (number - 1) * PER_PAGE
        short = page.more and got != PER_PAGE
        wrong = not page.more and page.total is not None and before + got < page.total
        if short or wrong or got > PER_PAGE or len({user.id for user in page.users}) != got:
            raise IdentityUnavailableError(
                f"Identity answered page {number} of its users with {got} accounts, which is not "
                f"a whole page of {PER_PAGE} and not the last."
            )
        return page

    def _moved(self, progress: Progress) -> bool:
        """Whether the pages moved since the one before was read: accounts deleted meanwhile.

        Then as many as were deleted have slipped from this page to the one before, unseen.
        """
        if not progress.anchors or progress.steps_back >= ANCHORS:
            return False
        place = (progress.page - 1) * PER_PAGE
        there = self._patiently(lambda: self._client.users(place, 1)).users
        return [str(user.id) for user in there] != [progress.anchors[-1]]

    def _not_a_stranger(self, run: Run, people: Sequence[IdentityUser]) -> None:
        """Refuse an Identity that shares nobody with us, before anything is mended by it."""
        sample = self._store.sample(run, SAMPLE)
        if not sample or self._store.known(run, people):
            return
        if any(self._ask(user_id) for user_id in sample):
            return
        raise SyncStrangerError(
            f"None of Identity's first {len(people)} accounts is known here, and none of "
            f"{len(sample)} users looked for there exists. Is USHER_IDENTITY_URL the right one? "
            "If it is, repeat with --force."
        )

    def _settle(
        self, run: Run, people: Sequence[IdentityUser], asked_at: datetime, progress: Progress
    ) -> Run:
        """Compare some accounts; those whose records are changing are asked for once more."""
        settled = self._store.settle(run, self._plan, people, asked_at, progress)
        run = self._push(settled.run, settled.told)
        moving = settled.moving
        for _ in range(LOOKS):
            if not moving:
                break
            asked_at = self._clock()
            found = [self._ask(user_id) for user_id in moving]
            again = [person for person in found if person is not None]
            settled = self._store.settle(
                run, self._plan, again, asked_at, run.progress, views=moving
            )
            run = self._push(settled.run, settled.told)
            moving = settled.moving
        return run

    def _push(self, run: Run, told: Sequence[User]) -> Run:
        """Tell Identity of what was marked; what fails stays pending."""
        for number, user in enumerate(told, 1):
            self._pushes().push(user)
            if number % 20 == 0:
                run = self._store.keep(run)
        return run

    # --- records -----------------------------------------------------------------------------

    def _records(self, run: Run) -> Run:
        """Ask for each record by name that no page showed."""
        users, place, count = self._store.unseen(run, PER_PAGE)
        progress = replace(run.progress, place=place, records=run.progress.records + count)
        if not place:
            progress = replace(progress, phase=Phase.REMOVALS)
        asked_at = self._clock()
        found, missing = [], []
        for number, user in enumerate(users, 1):
            person = self._ask(user.id)
            if person is None:
                missing.append(user.id)
            else:
                found.append(person)
            if number % 20 == 0:
                run = self._store.keep(run)
        if found:
            run = self._settle(run, found, asked_at, run.progress)
            progress = replace(
                progress,
                accounts=run.progress.accounts,
                found=run.progress.found,
                mended=run.progress.mended,
            )
        return self._store.absent(run, missing, progress)

    # --- removals ----------------------------------------------------------------------------

    def _removals(self, run: Run) -> Run:
        if not self._plan.prune:
            return self._complete(run)
        here = self._plan.pull and self._allowed(run, Kind.MISSING_THERE, run.progress.records)
        there = self._plan.push and self._allowed(run, Kind.DELETED_HERE, run.progress.accounts)
        removals = self._store.removals(run, 20) if here or there else []
        if not removals:
            return self._complete(run)
        mended: dict[str, int] = {}
        for user_id, mark in removals:
            kind = Kind.MISSING_THERE if mark is Mark.ABSENT else Kind.DELETED_HERE
            if kind is Kind.MISSING_THERE:
                removed = here and self._remove_here(user_id)
            else:
                removed = there and self._remove_there(run, user_id)
            if removed:
                mended[kind.value] = mended.get(kind.value, 0) + 1
        progress = replace(run.progress.counting({}, mended), place=str(removals[-1][0]))
        return self._store.keep(replace(run, progress=progress))

    def _allowed(self, run: Run, kind: Kind, total: int) -> bool:
        count = run.progress.found.get(kind.value, 0)
        return self._force or not too_many(count, total)

    def _remove_here(self, user_id: UUID) -> bool:
        """Leave a tombstone, if Identity says once more that there is no such account."""
        user = self._users.look_up(user_id)
        if user is None or user.deleted_at or self._ask(user_id) is not None:
            return False
        try:
            self._store.delete_here(user)
        except (
            PreconditionFailedError,
            LastAdministratorError,
            UserNotFoundError,
            UserDeletedError,
        ) as error:
            get_logger().warning("sync.kept", user_id=str(user_id), code=error.code)
            return False
        return True

    def _remove_there(self, run: Run, user_id: UUID) -> bool:
        """Have an account deleted whose record here is a tombstone."""
        user = self._store.delete_there(run, user_id)
        return user is not None and not self._pushes().push(user).at_identity.pending

    def _complete(self, run: Run) -> Run:
        if self._plan.push:
            # What an interrupted run marked and did not get to.
            self._pushes().push_pending()
        refused = [
            f"{run.progress.found[kind.value]} of {total} {where}"
            for kind, total, where, mends in (
                (Kind.MISSING_THERE, run.progress.records, "users here", self._plan.pull),
                (Kind.DELETED_HERE, run.progress.accounts, "accounts at Identity", self._plan.push),
            )
            if self._plan.prune and mends and not self._allowed(run, kind, total)
        ]
        text = ""
        if refused:
            text = (
                f"Not removed: {', and '.join(refused)}, more than {MOST_REMOVED_PERCENT} %. "
                "If that is meant, repeat with --prune --force."
            )
        done = replace(run, progress=replace(run.progress, refused=text))
        return self._store.complete(done, self._plan)

    # --- asking ------------------------------------------------------------------------------

    def _ask(self, user_id: UUID) -> IdentityUser | None:
        return self._patiently(lambda: self._client.user(user_id))

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        pause = FIRST_PAUSE_SECONDS
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return ask()
            except IdentityUnavailableError as error:
                if attempt == ATTEMPTS or isinstance(error, IdentityCredentialsError):
                    raise
                get_logger().info("sync.again", attempt=attempt, code=error.code)
            self._sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            pause *= 2
        raise AssertionError("unreachable")
