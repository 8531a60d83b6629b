"""Policy trials: the same past events decided by two policies, side by side. Pure.

Each user's history is decided by itself, so nothing of one user is kept when the next begins.
Administrators' acts are left out: a trial compares the policies alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from usher.core.domain.decide import decide
from usher.core.domain.differences import Differences
from usher.core.domain.events import Event
from usher.core.domain.policy import Applicant, Policy, Verdict
from usher.core.domain.records import Decision, Outcome, User
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective
from usher.core.errors import PolicyError
from usher.core.strict_json import equal

DatedEvent = tuple[Event, datetime]
"""An event with its time of receipt, UTC."""


class _RecordingPolicy:
    """A policy that records its questions and verdicts of one event."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.verdicts: list[tuple[Applicant, Verdict]] = []
        self.screened: list[tuple[Event, Verdict, Verdict]] = []

    @property
    def fingerprint(self) -> str:
        return self._policy.fingerprint

    def evaluate(self, applicant: Applicant) -> Verdict:
        verdict = self._policy.evaluate(applicant)
        self.verdicts.append((applicant, verdict))
        return verdict

    def screen(self, event: Event, verdict: Verdict) -> Verdict:
        screened = self._policy.screen(event, verdict)
        self.screened.append((event, verdict, screened))
        return screened

    def agrees(self, other: Policy) -> bool:
        """Whether another policy gives the same answers to the questions of the event."""
        try:
            return all(
                equal(other.evaluate(applicant), verdict) for applicant, verdict in self.verdicts
            ) and all(
                equal(other.screen(event, verdict), screened)
                for event, verdict, screened in self.screened
            )
        except PolicyError:
            return False

    def forget(self) -> None:
        self.verdicts.clear()
        self.screened.clear()


def try_on_user(
    history: Iterable[DatedEvent], old: Policy, new: Policy, differences: Differences
) -> int:
    """Decide one user's events by both policies, and note the differences.

    While both policies give the user the same verdicts, each event is decided once for both.

    Args:
        history: one user's events, in their order.
        differences: collects the differences.

    Returns:
        The number of events.
    """
    before: User | None = None
    after: User | None = None
    count = 0
    example, moment = "", None
    recording = _RecordingPolicy(old)
    for event, moment in history:
        count += 1
        recording.forget()
        by_old = _decide(event, before, recording, moment)
        alike = before is after and by_old.outcome is not Outcome.FAILED and recording.agrees(new)
        by_new = by_old if alike else _decide(event, after, new, moment)
        before, after = by_old.user, by_new.user
        if not alike:
            example = str(event.user.id)
            field = f"admission at {event.name.value}"
            differences.note(field, _admission(by_old), _admission(by_new), example)
    if moment is not None and before is not after:
        for role in sorted(_roles(before, moment) | _roles(after, moment)):
            differences.note(
                f"role {role!r}",
                "had" if role in _roles(before, moment) else "not had",
                "had" if role in _roles(after, moment) else "not had",
                example,
            )
    return count


def _decide(event: Event, user: User | None, policy: Policy, moment: datetime) -> Decision:
    """The decision, or a failed one where a callable policy fails; that changes no record."""
    try:
        return decide(event, user, policy, moment)
    except PolicyError as error:
        return Decision(Outcome.FAILED, user, Reply.refusing(error), ())


def _admission(decision: Decision) -> str:
    if decision.outcome is Outcome.FAILED:
        return "failed"
    if decision.outcome is not Outcome.DENIED:
        return "admitted"
    return f"denied by {decision.reasons[-1].rule}"


def _roles(user: User | None, moment: datetime) -> frozenset[str]:
    return effective(user.grants, moment) if user else frozenset()
