"""Differences that another policy would have made at an event, with the rule of each. Pure.

Both policies decide the event anew, upon the same record. So only the policies differ, whatever has
happened to the record since.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from usher.core.domain.book import gives_code
from usher.core.domain.decide import decide
from usher.core.domain.differences import roles
from usher.core.domain.events import Event, EventName
from usher.core.domain.policy import CountingPolicy, Reason
from usher.core.domain.policy_tests import answer_of
from usher.core.domain.recording import RecordingPolicy
from usher.core.domain.records import Status, User

MAX_GROUPS: Final = 100
MAX_COUNTED: Final = 100_000
"""Differences of one run that are grouped at a time."""
MAX_RULE: Final = 100
MAX_TEXT: Final = 300
_ADMISSION: Final = frozenset((EventName.VALIDATE, EventName.SIGNUP))
_CLOSED: Final = frozenset((Status.SUSPENDED, Status.DELETED))
_UNNAMED: Final = Reason("policy.no_rule", "no rule of the policy says why")


class Change(StrEnum):
    """A kind of difference under the other policy."""

    REFUSED = "refused"
    ADMITTED = "admitted"
    WAITING = "waiting"
    GAINS = "gains"
    LOSES = "loses"
    FAILED = "failed"
    """It gave no verdict: it raised, hung, or grew too large."""


class Difference(Struct, frozen=True, gc=False):
    """One difference at one event, with the rule behind it.

    Attributes:
        role: that is gained or lost; empty for any other change.
        rule, text: of the policy that makes the difference; no personal data but a callable's.
    """

    change: Change
    role: str
    rule: str
    text: str


class Run(Struct, frozen=True, gc=False):
    """One shadow policy beside one live policy, as far as it has followed the ledger.

    Attributes:
        source: the value of ``USHER_POLICY_SHADOW``.
        fingerprint, live: of the shadow policy and of the live one; with another pair a new run
            begins, at the delivery that is the newest then.
        position: ``sequence`` of the last delivery that was looked at.
        newest: that of the newest delivery when the run was last written.
        events: how many were compared.
        trying, tries: the delivery at which the process ended before, and how often.
        lease: the server that follows, until ``lease_until``; None: none does.
        seen_at: when it was last written.
        error, failed_at: why the process last ended, and when; empty: it never did.
    """

    source: str
    run_id: UUID
    fingerprint: str
    live: str
    begun_at: datetime
    position: int
    newest: int
    events: int
    trying: int
    tries: int
    lease: UUID | None
    lease_until: datetime
    seen_at: datetime
    error: str
    failed_at: datetime | None


class Noted(Struct, frozen=True, gc=False):
    """A difference with the delivery that it is about."""

    delivery_id: str
    event: str
    user_id: UUID
    at: datetime
    difference: Difference


class Group(Struct, frozen=True, gc=False):
    """The differences of one kind; ``text`` explains one of them."""

    change: Change
    role: str
    rule: str
    text: str
    events: int
    people: int


class Groups(Struct, frozen=True):
    """The most frequent kinds of differences.

    Attributes:
        items: the most frequent first.
        more: kinds that are not among them.
        counted: the newest differences that were counted; no more than ``MAX_COUNTED``.
    """

    items: Sequence[Group] = ()
    more: int = 0
    counted: int = 0


def compare(
    event: Event, user: User | None, live: CountingPolicy, shadow: CountingPolicy, now: datetime
) -> tuple[Difference, ...]:
    """The differences that another policy would have made at an event.

    Both decide it, so that only the policies differ. Nothing is counted: every quota has room, and
    somebody who gives an invitation code is left out.

    Args:
        user: the record as it stands.

    Raises:
        PolicyError: either policy fails.
    """
    if event.name in _ADMISSION and (user is None or user.status not in _CLOSED):
        user = None  # admission looks at the event alone, and the record may have come after it
    if any(each.counting and gives_code(event, each.counting) for each in (live, shadow)):
        return ()
    was, would = RecordingPolicy(live), RecordingPolicy(shadow)
    before = decide(event, user, was, now, audited=False).user
    after = decide(event, user, would, now, audited=False).user
    if not was.verdicts:
        return ()
    entered, enters = _entry(event, before, was), _entry(event, after, would)
    if entered is not enters:
        by = was if enters is Change.ADMITTED else would
        return (_difference(enters, "", (by.screened[-1][-1].reasons or (_UNNAMED,))[-1]),)
    held, other = roles(before, now), roles(after, now)
    return (
        *(_role(Change.GAINS, role, would) for role in sorted(other - held)),
        *(_role(Change.LOSES, role, was) for role in sorted(held - other)),
    )


def failed(rule: str, text: str) -> Difference:
    """The other policy gave no verdict."""
    return Difference(Change.FAILED, "", rule[:MAX_RULE], text[:MAX_TEXT])


def _entry(event: Event, user: User | None, policy: RecordingPolicy) -> Change:
    """The answer at the door. A login comes after it, so that a refusal is none there."""
    if event.name in _ADMISSION:
        return Change(answer_of(policy.screened[-1][-1]))
    waits = user is not None and user.waiting_since is not None
    return Change.WAITING if waits else Change.ADMITTED


def _role(change: Change, role: str, policy: RecordingPolicy) -> Difference:
    """The difference, with the rule by which one of the policies gives the role."""
    given = (
        reason
        for reason in policy.verdicts[-1][-1].role_reasons
        if repr(role) in reason.text and not reason.text.startswith("no ")
    )
    return _difference(change, role, next(given, _UNNAMED))


def _difference(change: Change, role: str, reason: Reason) -> Difference:
    return Difference(change, role, reason.rule[:MAX_RULE], reason.text[:MAX_TEXT])
