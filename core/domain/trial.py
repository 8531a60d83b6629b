"""Trying a policy on the past: the same events decided by two policies, side by side. Pure.

Each user's history is folded by itself, so nothing is kept of one when the next begins. What an
administrator did is left out: the question is what the policies would do.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from usher.core.domain.decide import decide
from usher.core.domain.differences import Differences
from usher.core.domain.events import Event
from usher.core.domain.policy import Applicant, Policy, Verdict
from usher.core.domain.records import Decision, Outcome, User
from usher.core.domain.roles import effective

Seen = tuple[Event, datetime]
"""An event, and when it was received."""


class _Asked:
    """A policy that remembers what it was asked for one event, and what it said."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.said: list[tuple[Applicant, Verdict]] = []

    @property
    def fingerprint(self) -> str:
        return self._policy.fingerprint

    def evaluate(self, applicant: Applicant) -> Verdict:
        verdict = self._policy.evaluate(applicant)
        self.said.append((applicant, verdict))
        return verdict


def try_on_user(history: Iterable[Seen], old: Policy, new: Policy, differences: Differences) -> int:
    """Decide one user's events by both policies, and note what comes out differently.

    As long as the new policy says the same of somebody as the old one, their events are decided
    once for both.

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
    asked = _Asked(old)
    for event, moment in history:
        count += 1
        asked.said.clear()
        was = decide(event, before, asked, moment)
        alike = before is after and all(new.evaluate(who) == said for who, said in asked.said)
        now = was if alike else decide(event, after, new, moment)
        before, after = was.user, now.user
        if not alike:
            example = str(event.user.id)
            what = f"admission at {event.name.value}"
            differences.note(what, _admission(was), _admission(now), example)
    if moment is not None and before is not after:
        for role in sorted(_roles(before, moment) | _roles(after, moment)):
            differences.note(
                f"role {role!r}",
                "had" if role in _roles(before, moment) else "not had",
                "had" if role in _roles(after, moment) else "not had",
                example,
            )
    return count


def _admission(decision: Decision) -> str:
    if decision.outcome is not Outcome.DENIED:
        return "admitted"
    return f"denied by {decision.reasons[-1].rule}"


def _roles(user: User | None, moment: datetime) -> frozenset[str]:
    return effective(user.grants, moment) if user else frozenset()
