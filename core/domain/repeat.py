"""A login that comes again, with an answer that told roles. Pure.

Two logins of one second can be the same bytes. Each is answered, and each answer replaces the map
at Identity, so a role that was taken away between the two must not be told again.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from usher.core.domain.events import Event, EventName
from usher.core.domain.held_roles import read_roles
from usher.core.domain.policy import Policy
from usher.core.domain.records import Decision, User
from usher.core.domain.reply import Reply


def tells_roles(event: Event, stored: Reply) -> bool:
    """Whether the stored answer to an event is one that is decided again."""
    return event.name is EventName.LOGIN and stored.status == 200


def decide_again(
    event: Event, user: User, stored: Reply, policy: Policy, now: datetime
) -> Decision:
    """Decide a login anew. Where it is told roles again, both answers are on their way.

    The answer is the stored one, and nothing else happens, unless something changed since.

    Raises:
        PolicyError: only from a callable policy that breaks its contract.
    """
    from usher.core.domain.decide import decide  # noqa: PLC0415 - forged events need none

    decision = decide(event, user, policy, now)
    told = decision.reply.app_metadata
    if told is None or decision.user is None:
        return decision
    after = user if decision.reply == stored else decision.user
    shown, roles = event.user.held_roles.names, read_roles(told.get("roles")).names
    there = after.at_identity.told_again(roles, shown, now, event.issued_at)
    after = replace(after, at_identity=there)
    audit = None if decision.reply == stored else decision.audit
    return replace(decision, user=after, audit=audit)
