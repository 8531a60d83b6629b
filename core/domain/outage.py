"""Answers while the database is away, as far as they need no record. Pure.

The spool keeps the event until the database is back; then it is decided in full. Its answer stays
as given (docs/reliability.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from usher.core.domain.decide import decide
from usher.core.domain.events import Event, EventName
from usher.core.domain.policy import Policy, Reason
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


def answer_without_record(event: Event, policy: Policy, now: datetime) -> Reply:
    """The answer to an event whose user cannot be looked up.

    A signup brings a new user, so the policy knows all that it needs. A login brings a user who
    was admitted before; their roles stay as Identity has them. A change or a deletion has happened
    already.

    Args:
        now: the time of receipt, UTC.

    Raises:
        PolicyError: only from a callable policy that breaks its contract.
    """
    if event.name in (EventName.VALIDATE, EventName.SIGNUP):
        return decide(event, None, policy, now).reply
    return NO_CONTENT if event.name is EventName.LOGIN else Reply(202)
