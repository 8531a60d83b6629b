"""Trying a policy on the past: the same events decided by two policies, side by side. Pure.

Each user's history is folded by itself, so nothing is kept of one when the next begins. What an
administrator did is left out: the question is what the policies would do.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from core.differences import Differences
from core.events import Event
from core.lifecycle import Outcome, Result, decide
from core.policy import Policy
from core.records import User
from core.roles import effective

Seen = tuple[Event, datetime]
"""An event, and when it was received."""


def try_on_user(history: Iterable[Seen], old: Policy, new: Policy, differences: Differences) -> int:
    """Decide one user's events by both policies, and note what comes out differently.

    Args:
        history: one user's events, in their order.

    Returns:
        How many events there were.

    Raises:
        PolicyError: a callable policy broke its contract.
    """
    before: User | None = None
    after: User | None = None
    count = 0
    example, moment = "", None
    for event, moment in history:
        count += 1
        example = str(event.user.id)
        was = decide(event, before, old, moment)
        now = decide(event, after, new, moment)
        before, after = was.user, now.user
        differences.note(
            f"admission at {event.name.value}", _admission(was), _admission(now), example
        )
    if moment is not None:
        for role in sorted(_roles(before, moment) | _roles(after, moment)):
            differences.note(
                f"role {role!r}",
                "had" if role in _roles(before, moment) else "not had",
                "had" if role in _roles(after, moment) else "not had",
                example,
            )
    return count


def _admission(outcome: Outcome) -> str:
    if outcome.result is not Result.DENIED:
        return "admitted"
    return f"denied by {outcome.reasons[-1].rule}"


def _roles(user: User | None, moment: datetime) -> frozenset[str]:
    return effective(user.grants, moment) if user else frozenset()
