"""Answers while the database is away, as far as they need no record. Pure.

The spool keeps the event until the database is back; then it is decided in full. Its answer stays
as given (docs/reliability.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from usher.core.domain.book import gives_code, place_of
from usher.core.domain.codes import CodeState
from usher.core.domain.counting import Counts
from usher.core.domain.decide import decide
from usher.core.domain.events import Event, EventName
from usher.core.domain.policy import CountingPolicy, Reason
from usher.core.domain.reply import NO_CONTENT, Reply

RULE: Final = "outage"

_BY_POLICY: Final = Reason(f"{RULE}.policy", "answered by the policy alone: the database was away")
_AS_HELD: Final = Reason(
    f"{RULE}.login", "admitted with the roles that Identity had: the database was away"
)
_ACCEPTED: Final = Reason(f"{RULE}.accepted", "accepted, applied later: the database was away")
KEPT: Final = Reason(f"{RULE}.kept", "kept, recorded later: the database was away")
"""For deliveries without effect on a user: unknown events, unreadable bodies."""

REASONS: Final[Mapping[EventName, Reason]] = {
    EventName.VALIDATE: _BY_POLICY,
    EventName.SIGNUP: _BY_POLICY,
    EventName.LOGIN: _AS_HELD,
    EventName.USERMODIFIED: _ACCEPTED,
    EventName.USERDELETED: _ACCEPTED,
}
"""The reason for each event's answer; it precedes the reasons of the later decision."""


def answer_without_record(event: Event, policy: CountingPolicy, now: datetime) -> Reply | None:
    """The answer to an event whose user cannot be looked up.

    A signup brings a new user, so the policy knows all that it needs. A login brings a user who
    was admitted before; their roles stay as Identity has them. A change or a deletion has happened
    already.

    Args:
        now: the time of receipt, UTC.

    Returns:
        None where the answer hangs on an invitation code or a quota, which are on record.

    Raises:
        PolicyError: only from a callable policy that breaks its contract.
    """
    if event.name in (EventName.VALIDATE, EventName.SIGNUP):
        return _asked(event, policy, now)
    return NO_CONTENT if event.name is EventName.LOGIN else Reply(202)


def _asked(event: Event, policy: CountingPolicy, now: datetime) -> Reply | None:
    """The policy's answer, where it is the same whatever the counts say."""
    counting = policy.counting
    if counting is None:
        return decide(event, None, policy, now).reply
    given, place = gives_code(event, counting), place_of(event, counting)
    worst = Counts(state=CodeState.UNKNOWN if given else None, place=place, full=place is not None)
    best = Counts(state=CodeState.OPEN if given else None, place=place)
    answer = decide(event, None, policy, now, None, worst)
    other = decide(event, None, policy, now, None, best)
    return answer.reply if answer.outcome is other.outcome else None
