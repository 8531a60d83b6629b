"""What Identity is told while the database is away: only what needs no record. Pure.

The event itself is kept aside meanwhile and decided in full when the database is back; the answer
that was given stays the answer (docs/reliability.md).
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
"""Of what has no effect on a user: an unknown event, a body that cannot be read."""

REASONS: Final[Mapping[EventName, Reason]] = {
    EventName.VALIDATE: _BY_POLICY,
    EventName.SIGNUP: _BY_POLICY,
    EventName.LOGIN: _AS_HELD,
    EventName.USERMODIFIED: _ACCEPTED,
    EventName.USERDELETED: _ACCEPTED,
}
"""Why an event was answered as it was; goes before the reasons of the decision that follows."""


def answer_without_record(event: Event, policy: Policy, now: datetime) -> Reply:
    """The answer to an event about somebody of whom nothing can be looked up.

    Whoever signs up is new, so the policy knows all that it needs. Whoever logs in was admitted
    before; their roles stay those that Identity holds. A change or a deletion has happened already.

    Args:
        now: the time of receipt, UTC.

    Raises:
        PolicyError: only from a callable policy that breaks its contract.
    """
    if event.name in (EventName.VALIDATE, EventName.SIGNUP):
        return decide(event, None, policy, now).reply
    return NO_CONTENT if event.name is EventName.LOGIN else Reply(202)
