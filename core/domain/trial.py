"""Policy trials: the past, or the records of now, by two policies side by side. Pure.

Each user's history is decided by itself, so nothing of one user is kept when the next begins.
Administrators' acts are left out of the past: there the policies alone are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from usher.core.domain.counting import NOTHING, Counts
from usher.core.domain.decide import applicant, decide
from usher.core.domain.differences import Differences, admission, entry, role_differences, roles
from usher.core.domain.events import Event, EventName
from usher.core.domain.policy import Applicant, Policy, Verdict
from usher.core.domain.recording import RecordingPolicy
from usher.core.domain.records import Decision, Outcome, Status, User
from usher.core.domain.recount import UNCOUNTED, DatedEvent, PastCounts
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective, follow_policy
from usher.core.errors import PolicyError
from usher.core.strict_json import equal

_NONE: Final[Mapping[str, Counts]] = {}
COMPARED: Final = frozenset({Status.PENDING, Status.WAITING, Status.ACTIVE})
"""Of records: policies have no word on the suspended and the deleted."""


@dataclass
class Trial:
    """The result of a trial.

    Attributes:
        count: of events, or of records.
        users: those with events, or with records.
    """

    count: int = 0
    users: int = 0
    differences: Differences = field(default_factory=Differences)

    def add(self, other: Trial) -> None:
        """Add the result of others."""
        self.count += other.count
        self.users += other.users
        self.differences.add(other.differences)


def try_on_past(
    histories: Iterable[Sequence[DatedEvent]],
    old: Policy,
    new: Policy,
    counted: Sequence[PastCounts] = (UNCOUNTED, UNCOUNTED),
) -> Trial:
    """Decide the past by both policies.

    Args:
        histories: the events of each user, in order.
        counted: the counts of these events for each of the two, where they count.
    """
    trial = Trial()
    for history in histories:
        if not history:
            continue
        user_id = history[0][0].user.id
        mine = [each.get(user_id, _NONE) for each in counted]
        _try_on_user(history, (old, new), mine, trial.differences)
        trial.count += len(history)
        trial.users += 1
    return trial


def try_on_records(records: Iterable[User], old: Policy, new: Policy, now: datetime) -> Trial:
    """Ask both policies about records as they are now.

    Policies have no word on the suspended and the deleted, who are left out. The differences:

    - ``admission``: whether somebody would be let in if they signed up now, with what is known of
      them. It changes nothing for people who have been let in.
    - ``role ...``: what somebody has after their next login. Grants and denials of administrators,
      of handlers and of Identity hold as they do now.
    """
    trial = Trial()
    for user in records:
        if user.status in COMPARED:
            _try_on_record(user, old, new, now, trial.differences)
            trial.count += 1
    trial.users = trial.count
    return trial


def _try_on_user(
    history: Sequence[DatedEvent],
    policies: tuple[Policy, Policy],
    counted: Sequence[Mapping[str, Counts]],
    differences: Differences,
) -> None:
    """Decide one user's events by both policies, and note the differences.

    While both policies give the user the same verdicts, each event is decided once for both.
    """
    (old, new), (old_counts, new_counts) = policies, counted
    before: User | None = None
    after: User | None = None
    example = ""
    recording = RecordingPolicy(old)
    for event, moment in history:
        was = old_counts.get(event.delivery_id, NOTHING)
        now = new_counts.get(event.delivery_id, NOTHING)
        alike = before is after and was == now
        if alike:
            recording.forget()
            by_old = _decide(event, before, recording, moment, was)
            alike = by_old.outcome is not Outcome.FAILED and _agrees(recording, new)
        else:
            by_old = _decide(event, before, old, moment, was)
        by_new = by_old if alike else _decide(event, after, new, moment, now)
        before, after = by_old.user, by_new.user
        if not alike:
            example = str(event.user.id)
            field = f"admission at {event.name.value}"
            differences.note(field, admission(by_old), admission(by_new), example)
    if before is not after:
        moment = history[-1][1]
        for difference in role_differences(roles(before, moment), roles(after, moment)):
            differences.note(*difference, example)


def _try_on_record(
    user: User, old: Policy, new: Policy, now: datetime, differences: Differences
) -> None:
    question = replace(applicant(EventName.SIGNUP, user, now), at=int(now.timestamp()))
    was, would = _verdict(old, question), _verdict(new, question)
    differences.note("admission", entry(was), entry(would), str(user.id))
    question = replace(question, event=EventName.LOGIN)
    was, would = _verdict(old, question), _verdict(new, question)
    held = (_roles_after_login(user, verdict, now) for verdict in (was, would))
    for difference in role_differences(*held):
        differences.note(*difference, str(user.id))


def _roles_after_login(user: User, verdict: Verdict | None, now: datetime) -> frozenset[str]:
    """The roles after a login at which the policy says this; None: it fails, nothing changes."""
    waits = user.waiting_since and (verdict is None or verdict.asks or not verdict.admitted)
    if waits or verdict is None or not user.confirmed_at:
        return effective(user.grants, now)
    return effective(follow_policy(user.grants, verdict.roles, "", now, verdict.ends), now)


def _verdict(policy: Policy, question: Applicant) -> Verdict | None:
    """The verdict; None where a callable policy fails."""
    try:
        return policy.evaluate(question)
    except PolicyError:
        return None


def _decide(
    event: Event, user: User | None, policy: Policy, moment: datetime, counts: Counts
) -> Decision:
    """The decision, or a failed one where a callable policy fails; that changes no record."""
    try:
        return decide(event, user, policy, moment, None, counts, audited=False)
    except PolicyError as error:
        return Decision(Outcome.FAILED, user, Reply.refusing(error), ())


def _agrees(recording: RecordingPolicy, other: Policy) -> bool:
    """Whether another policy gives the same answers to the questions of the event."""
    try:
        return all(
            _is_same(verdict, other.evaluate(applicant))
            for applicant, verdict in recording.verdicts
        ) and all(
            _is_same(screened, other.screen(event, verdict))
            for event, verdict, screened in recording.screened
        )
    except PolicyError:
        return False


def _is_same(one: Verdict, other: Verdict) -> bool:
    """Whether two verdicts lead to the same record, and to the same words about it.

    The rules that gave a role, and the sentence of a refusal, may differ.
    """
    return (
        one.admitted is other.admitted
        and one.asks is other.asks
        and one.by_code is other.by_code
        and one.roles == other.roles
        and one.ends == other.ends
        and (one.admitted or one.reasons == other.reasons)
        and equal(one.app_metadata, other.app_metadata)
    )
