"""The service of requests: persons make them, administrators decide them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final

from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.policy import Policy
from usher.core.domain.records import Key, Page, User
from usher.core.domain.requests import (
    DECLINED_ACTION,
    MADE,
    WITHDRAWN,
    Asked,
    Request,
    State,
    act,
    same_open,
)
from usher.core.errors import RequestNotFoundError, RequestNotPossibleError, UserDeletedError
from usher.core.store import requests as rows
from usher.core.store.database import Database, Transaction, again_on_conflict
from usher.core.store.instances import Instances
from usher.core.store.users import find_by_ids
from usher.core.users import UserService

NEWEST: Final = 50
"""Of a person's own requests, as many are shown and looked at."""


class RequestService:
    """Reads, makes and decides requests; each change is in the audit.

    Args:
        clock: gives the current time, UTC.
        instances: say which instance is meant.
    """

    def __init__(
        self,
        database: Database,
        users: UserService,
        clock: Callable[[], datetime],
        instances: Instances,
    ) -> None:
        self._database = database
        self._users = users
        self._clock = clock
        self._instances = instances

    # --- administrators -----------------------------------------------------------------------

    def page(
        self, state: State | None = State.OPEN, *, limit: int = 50, cursor: str | None = None
    ) -> Page[Asked]:
        """One page of requests with their persons, the oldest first.

        Raises:
            CursorInvalidError: the cursor is not one of this list.
        """
        with self._database.read() as transaction:
            instance_id = self._instances.shown(transaction)
            page = rows.request_page(transaction.sql, instance_id, state, limit, cursor)
            ids = sorted({request.user_id for request in page.items})
            users = {user.id: user for user in find_by_ids(transaction, instance_id, ids)}
        asked = [Asked(one, users[one.user_id]) for one in page.items if one.user_id in users]
        return Page(tuple(asked), page.next_cursor)

    def get(self, number: int) -> Asked:
        """One request with its person.

        Raises:
            RequestNotFoundError: there is none.
        """
        with self._database.read() as transaction:
            request = self._find(transaction, number)
            found = find_by_ids(transaction, request.instance_id, [request.user_id])
        if not found:
            raise RequestNotFoundError
        return Asked(request, found[0])

    def waiting(self) -> tuple[int, datetime | None]:
        """The number of open requests, and the time of the oldest."""
        with self._database.read() as transaction:
            instance_id = self._instances.shown(transaction)
            return rows.open_requests(transaction.sql, instance_id)

    def approve(
        self,
        number: int,
        policy: Policy,
        change: Change,
        roles: Collection[str] = (),
        expires_at: datetime | None = None,
    ) -> Asked:
        """Let the person in, or give them the role.

        Args:
            policy: gives its roles to somebody who is let in.
            roles: given besides to somebody who is let in; in the place of the one that is asked
                for, if there are any.
            expires_at: the end of these roles.

        Raises:
            RequestNotFoundError: there is no such request.
            RequestDecidedError: it was decided already; a declined entry still can be approved.
            UserNotWaitingError, UserWaitingError, UserDeletedError, RoleInvalidError: as the
                commands of ``administration`` say.
            PolicyError: only from a callable policy that breaks its contract.
        """

        def work(transaction: Transaction, request: Request, now: datetime) -> User:
            request.require_approvable()
            key = (request.instance_id, request.user_id)
            if request.role is None:
                command = administration.approve(policy, roles, expires_at=expires_at)
                user = self._users.change_in(transaction, key, command, change)
            else:
                for role in sorted(set(roles) or {request.role}):
                    command = administration.grant(role, expires_at=expires_at)
                    user = self._users.change_in(transaction, key, command, change)
            rows.decide_request(transaction.sql, number, State.APPROVED, change.actor, now)
            return user

        return self._decide(number, work)

    def decline(self, number: int, change: Change, message: str = "") -> Asked:
        """Decline a request; somebody who waits goes on waiting, and can be approved later.

        Args:
            message: the sentence for the person; empty: a general one.

        Raises:
            RequestNotFoundError: there is no such request.
            RequestDecidedError: it was decided already.
        """

        def work(transaction: Transaction, request: Request, now: datetime) -> User:
            request.require_open()
            key = (request.instance_id, request.user_id)
            before = self._users.load(transaction, [key])
            state = State.DECLINED
            rows.decide_request(transaction.sql, number, state, change.actor, now, message)
            entry = act(DECLINED_ACTION, request, change.actor, now, change.reason or message)
            self._users.store(transaction, before, before, [entry])
            return before[key]

        return self._decide(number, work)

    def _decide(self, number: int, work: Callable[[Transaction, Request, datetime], User]) -> Asked:
        def decide() -> Asked:
            with self._database.write() as transaction:
                request = self._find(transaction, number)
                key = (request.instance_id, request.user_id)
                if key not in self._users.load(transaction, [key]):
                    raise RequestNotFoundError
                # Read again: whoever held the record until now may have decided it.
                request = self._find(transaction, number)
                user = work(transaction, request, self._clock())
                return Asked(self._find(transaction, number), user)

        return again_on_conflict(decide)

    def _find(self, transaction: Transaction, number: int) -> Request:
        instance_id = self._instances.shown(transaction)
        request = rows.find_request(transaction.sql, instance_id, number)
        if request is None:
            raise RequestNotFoundError
        return request

    # --- persons ------------------------------------------------------------------------------

    def of(self, user: User) -> list[Request]:
        """A person's own requests, the newest first; ``NEWEST`` at most."""
        with self._database.read() as transaction:
            return rows.requests_of(transaction.sql, (user.instance_id, user.id), NEWEST)

    def sentence(self, user: User) -> str:
        """The sentence for a waiting person about being let in."""
        entries = (request.sentence for request in self.of(user) if request.role is None)
        return next(entries, "")

    def ask(self, user: User, role: str | None, reason: str, actor: str) -> Request:
        """Ask for a role, or anew to be let in.

        Other words about an open request replace those there; the same change nothing.

        Raises:
            RequestNotPossibleError: they do not wait, have the role, or too much is open.
            UserDeletedError: the record is a tombstone.
        """

        def work() -> Request:
            with self._database.write() as transaction:
                now = self._clock()
                key, current = self._lock(transaction, user)
                mine = rows.requests_of(transaction.sql, key, NEWEST)
                number = same_open(current, role, mine, now)
                if number is None:
                    number = rows.add_request(transaction.sql, key, role, reason, now)
                else:
                    request = self._find(transaction, number)
                    if request.reason == reason:
                        return request
                    rows.reword(transaction.sql, number, reason)
                request = self._find(transaction, number)
                entry = act(MADE, request, actor, now, reason)
                self._users.store(transaction, {key: current}, {key: current}, [entry])
                return request

        return again_on_conflict(work)

    def withdraw(self, user: User, number: int, actor: str) -> None:
        """Take an own request for a role back, as long as it is open.

        Raises:
            RequestNotFoundError: the person has no such request.
            RequestDecidedError: it was decided already.
            RequestNotPossibleError: it is the entry of somebody who waits.
            UserDeletedError: the record is a tombstone.
        """

        def work() -> None:
            with self._database.write() as transaction:
                key, current = self._lock(transaction, user)
                request = self._find(transaction, number)
                if request.user_id != user.id:
                    raise RequestNotFoundError
                request.require_open()
                if request.role is None:
                    raise RequestNotPossibleError("Your account waits for as long as it is there.")
                rows.remove_request(transaction.sql, number)
                entry = act(WITHDRAWN, request, actor, self._clock(), "")
                self._users.store(transaction, {key: current}, {key: current}, [entry])

        again_on_conflict(work)

    def _lock(self, transaction: Transaction, user: User) -> tuple[Key, User]:
        key = (user.instance_id, user.id)
        current = self._users.load(transaction, [key]).get(key)
        if current is None or current.deleted_at:
            raise UserDeletedError("The account is gone.")
        return key, current
