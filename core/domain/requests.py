"""Requests to be let in, or for a role, which administrators decide. Pure.

A waiting person has an entry request, without a role, from the moment they wait. The store keeps it
in step with the record: it is open while they wait, and approved once they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from usher.core.bounds import MAX_OPEN_REQUESTS
from usher.core.domain.records import AuditEntry, Status, User
from usher.core.domain.roles import effective
from usher.core.errors import RequestDecidedError, RequestNotPossibleError

WAITS: Final = "An administrator has to approve this account first."
DECLINED: Final = "An administrator declined this request."
"""The sentences for a person where no administrator has written one."""
MADE: Final = "request.made"
WITHDRAWN: Final = "request.withdrawn"
DECLINED_ACTION: Final = "request.declined"
ACTIONS: Final = frozenset((MADE, WITHDRAWN, DECLINED_ACTION))
"""The acts of the audit that change a request and no record."""


class State(StrEnum):
    """The state of a request."""

    OPEN = "open"
    APPROVED = "approved"
    DECLINED = "declined"


class Request(Struct, frozen=True, gc=False):
    """One request.

    Attributes:
        id: its number; never used again.
        role: the role that is asked for; None: to be let in.
        reason: the person's words.
        message: the administrator's sentence for the person; empty: they wrote none.
        actor: decided it, as in the audit; empty while it is open.
    """

    id: int
    instance_id: UUID
    user_id: UUID
    role: str | None
    reason: str
    state: State
    message: str
    actor: str
    created_at: datetime
    decided_at: datetime | None = None

    @property
    def sentence(self) -> str:
        """The sentence for the person; empty where there is nothing to tell."""
        if self.state is State.DECLINED:
            return self.message or DECLINED
        return WAITS if self.state is State.OPEN and self.role is None else ""

    def require_open(self) -> None:
        """Insist that nobody has decided it.

        Raises:
            RequestDecidedError
        """
        if self.state is not State.OPEN:
            raise RequestDecidedError(self.state.value)

    def require_approvable(self) -> None:
        """Insist that it can be approved: a declined entry still can.

        Raises:
            RequestDecidedError
        """
        if self.role is not None or self.state is State.APPROVED:
            self.require_open()


class Asked(Struct, frozen=True, gc=False):
    """A request with the record of the person."""

    request: Request
    user: User


def same_open(user: User, role: str | None, mine: Sequence[Request], now: datetime) -> int | None:
    """The number of the open request that a new one of this person renews; None: there is none.

    Args:
        role: None: to be let in.
        mine: all requests of the person.

    Raises:
        RequestNotPossibleError: they do not wait, have the role already, or ask for too much.
    """
    if role is None and user.status is not Status.WAITING:
        raise RequestNotPossibleError("You are let in already. Name the role that you ask for.")
    if role is not None and role in effective(user.grants, now):
        raise RequestNotPossibleError(f"You have the role {role!r} already.")
    open_ones = [request for request in mine if request.state is State.OPEN]
    for request in open_ones:
        if request.role == role:
            return request.id
    if len(open_ones) >= MAX_OPEN_REQUESTS:
        raise RequestNotPossibleError(
            f"{MAX_OPEN_REQUESTS} of your requests wait to be decided. Take one back first."
        )
    return None


def act(action: str, request: Request, actor: str, now: datetime, reason: str) -> AuditEntry:
    """The entry of the audit for what changes a request and no record."""
    asked = {"request": request.id, "role": request.role}
    return AuditEntry(
        action, actor, request.instance_id, request.user_id, now, {}, {"request": asked}, reason
    )


def request_document(request: Request) -> dict[str, Any]:
    """A request, as the person sees it."""
    return {
        "id": request.id,
        "role": request.role,
        "reason": request.reason,
        "state": request.state.value,
        "message": request.sentence or None,
        "created_at": request.created_at,
        "decided_at": request.decided_at,
    }
