"""Policy trials: exactly what two policies make of the past and of the records, told briefly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.decide_support import ADA, POLICY, after, event
from tests.domain.test_decide_properties import events
from tests.profiles import examples
from tests.support import NOON
from usher.core.domain.administration import grant_role, revoke_role
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.decide import decide
from usher.core.domain.differences import (
    Differences,
    admission,
    role_differences,
    roles,
)
from usher.core.domain.events import Event
from usher.core.domain.policy import Applicant, Policy, Reason, Verdict
from usher.core.domain.records import Decision, Outcome, User
from usher.core.domain.reply import NO_CONTENT
from usher.core.domain.trial import Trial, try_on_past, try_on_records
from usher.core.policy_file import parse_policy

EMPTY = parse_policy("")
POLICIES = [
    POLICY,
    EMPTY,
    parse_policy('[admission]\ndefault = "deny"\nallow_email_domains = ["example.com"]'),
    parse_policy('[admission]\ndeny_emails = ["ada@other.org"]\n[[role]]\ngrant = "staff"'),
    parse_policy('[[role]]\ngrant = "member"\nproviders = ["google"]\n[app_metadata]\nplan = "a"'),
]


def groups(trial: Trial) -> dict[tuple[str, str, str], int]:
    """The differences of a trial, with their counts."""
    return {(g.what, g.was, g.now): g.count for g in trial.differences.groups()}


def one_by_one(history: Sequence[Event], old: Policy, new: Policy) -> Differences:
    """The same, each event decided by each policy: what a trial must find."""
    found = Differences()
    before: User | None = None
    after: User | None = None
    for each in history:
        was, now = decide(each, before, old, NOON), decide(each, after, new, NOON)
        found.note(f"admission at {each.name.value}", admission(was), admission(now), str(ADA))
        before, after = was.user, now.user
    for difference in role_differences(roles(before, NOON), roles(after, NOON)):
        found.note(*difference, str(ADA))
    return found


@settings(max_examples=examples(200))
@given(st.lists(events(), max_size=6), st.sampled_from(POLICIES), st.sampled_from(POLICIES))
def test_a_trial_finds_what_deciding_everything_twice_finds(
    history: list[Event], old: Policy, new: Policy
) -> None:
    """To decide once where the policies agree is a shortcut, and no other answer."""
    trial = try_on_past([[(each, NOON) for each in history]], old, new)
    assert trial.differences.groups() == one_by_one(history, old, new).groups()
    assert trial.count == len(history)


def test_a_history_without_events_counts_for_nobody() -> None:
    """Nothing was decided in it."""
    trial = try_on_past([[], [(event("login", 0), NOON)]], POLICY, EMPTY)
    assert (trial.count, trial.users) == (1, 1)


def test_the_trials_of_several_are_one() -> None:
    """Equal differences count together; a few examples of each are kept."""
    pasts = [[(event("signup", number), NOON)] for number in range(7)]
    parts = [try_on_past(pasts[:4], POLICY, EMPTY), try_on_past(pasts[4:], POLICY, EMPTY)]
    together = Trial()
    for part in parts:
        together.add(part)
    whole = try_on_past(pasts, POLICY, EMPTY)
    assert groups(together) == groups(whole)
    assert (together.count, together.users) == (whole.count, whole.users) == (7, 7)
    assert together.differences.documents() == whole.differences.documents()


def test_another_wording_of_the_same_rules_is_no_difference() -> None:
    """Neither the order of rules for roles nor the sentence of a refusal is compared."""
    new = parse_policy("""
    [admission]
    deny_email_domains = { values = ["bad.example"], message = "No." }
    [[role]]
    grant = "staff"
    email_domains = ["example.com"]
    [[role]]
    grant = "member"
    """)
    history = [event("signup", 0), event("login", 1), event("signup", 2, email="eve@bad.example")]
    assert groups(try_on_past([[(each, NOON) for each in history]], POLICY, new)) == {}


def broken(applicant: Applicant) -> Verdict:
    """A policy that fails for everybody."""
    raise KeyError(applicant.email)


FAILING = CallablePolicy("broken:f", broken)


def test_a_policy_that_fails_on_an_event_is_told() -> None:
    """Either of the two; a failed event changes no record."""
    past = [[(event("signup", 0), NOON)]]
    given = {("role 'member'", "had", "not had"): 1, ("role 'staff'", "had", "not had"): 1}
    assert groups(try_on_past(past, POLICY, FAILING)) == {
        ("admission at signup", "admitted", "failed"): 1, **given
    }  # fmt: skip
    assert groups(try_on_past(past, FAILING, EMPTY)) == {
        ("admission at signup", "failed", "admitted"): 1
    }
    assert groups(try_on_past(past, FAILING, FAILING)) == {}


def test_a_refusal_is_told_by_its_rule() -> None:
    """Not by the note on what of the event could not be read, which follows the rule."""
    unreadable = event("signup", 0, email="eve@bad.example", roles=7)
    found = decide(unreadable, None, POLICY, NOON)
    assert found.reasons[-1].rule == "identity.roles_unreadable"
    assert admission(found) == "denied by admission.deny_email_domains"


def test_waiting_for_an_approval_is_no_admission() -> None:
    """A person who waits is let in without roles: a third answer."""
    active = after([event("signup", 0)])
    assert active is not None
    waiting = replace(active, waiting_since=NOON, grants=())
    was = Decision(Outcome.APPLIED, active, NO_CONTENT, ())
    now = Decision(Outcome.APPLIED, waiting, NO_CONTENT, ())
    assert (admission(was), admission(now)) == ("admitted", "waiting")
    assert list(role_differences(roles(was.user, NOON), roles(now.user, NOON))) == [
        ("role 'member'", "had", "not had"),
        ("role 'staff'", "had", "not had"),
    ]


# --- records -------------------------------------------------------------------------------------


class Answers:
    """A policy that gives everybody the same verdict, and remembers the questions."""

    fingerprint = "answers"

    def __init__(self, **verdict: Any) -> None:
        self.verdict = Verdict(**verdict)
        self.asked: list[Applicant] = []

    def evaluate(self, applicant: Applicant) -> Verdict:
        """Answer anybody."""
        self.asked.append(applicant)
        return self.verdict

    def screen(self, _: Event, verdict: Verdict) -> Verdict:
        """Leave the verdict as it is."""
        return verdict


def ada(**fields: Any) -> User:
    """Ada's record after her signup, with ``member`` and ``staff``."""
    user = after([event("signup", 0)])
    assert user is not None
    return replace(user, **fields)


REFUSED = {"admitted": False, "reasons": (Reason("rule.2", "no"),)}
WAITING = {"waiting_since": NOON, "grants": ()}
RECORDS: list[tuple[str, dict[str, Any], dict[str, Any], dict[str, Any], list[str]]] = [
    ("gains", {}, {}, {"roles": frozenset({"a"})}, ["role 'a': not had -> had"]),
    ("loses", {}, {"roles": frozenset({"a"})}, {}, ["role 'a': had -> not had"]),
    ("is refused, and keeps the roles of an account that is there",
     {}, {"roles": frozenset({"a"})}, REFUSED | {"roles": frozenset({"a"})},
     ["admission: admitted -> denied by rule.2"]),
    ("would wait, if they were new", {}, {}, {"asks": True}, ["admission: admitted -> waiting"]),
    ("waits no longer", WAITING, {"asks": True, "roles": frozenset({"a"})},
     {"roles": frozenset({"a"})},
     ["admission: waiting -> admitted", "role 'a': not had -> had"]),
    ("goes on waiting", WAITING, {"asks": True}, REFUSED | {"roles": frozenset({"a"})},
     ["admission: waiting -> denied by rule.2"]),
    ("has not confirmed the address", {"confirmed_at": None, "grants": ()}, {},
     {"roles": frozenset({"a"})}, []),
    ("is suspended", {"suspended_at": NOON}, {}, REFUSED, []),
    ("is deleted", {"deleted_at": NOON}, {}, REFUSED, []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "was", "now", "said"), [each[1:] for each in RECORDS], ids=[r[0] for r in RECORDS]
)
def test_a_policy_is_tried_on_a_record(
    fields: dict[str, Any], was: dict[str, Any], now: dict[str, Any], said: list[str]
) -> None:
    """Admission as if they signed up now; roles as they are after the next login."""
    trial = try_on_records([ada(**fields)], Answers(**was), Answers(**now), NOON)
    found = trial.differences.groups()
    assert sorted(f"{g.what}: {g.was} -> {g.now}" for g in found) == said
    assert {example for g in found for example in g.examples} <= {str(ADA)}
    assert trial.count == trial.users == (fields.keys().isdisjoint({"suspended_at", "deleted_at"}))


def test_administrators_words_hold_in_a_trial_on_records() -> None:
    """Their grant stays where the policy gives none, and their denial lies over what it gives."""
    user = revoke_role(ada(), "member", actor="cli", now=NOON)
    user = grant_role(user, "granted", actor="cli", now=NOON)
    gives = Answers(roles=frozenset({"granted", "member", "new"}))
    found = groups(try_on_records([user], Answers(), gives, NOON))
    assert found == {("role 'new'", "not had", "had"): 1}


def test_the_question_about_a_record_is_of_now() -> None:
    """Windows of time hold or do not by the moment of the trial, not of the last event."""
    asked = Answers()
    now = datetime(2031, 5, 6, 7, tzinfo=UTC)
    try_on_records([ada()], Answers(), asked, now)
    assert [(each.event.value, each.at) for each in asked.asked] == [
        ("signup", int(now.timestamp())),
        ("login", int(now.timestamp())),
    ]
    assert asked.asked[0].proven


def test_a_policy_that_fails_on_a_record_is_told() -> None:
    """It changes no role; either of the two may fail."""
    assert groups(try_on_records([ada()], POLICY, FAILING, NOON)) == {
        ("admission", "admitted", "failed"): 1
    }
    assert groups(try_on_records([ada()], FAILING, POLICY, NOON)) == {
        ("admission", "failed", "admitted"): 1
    }
    assert groups(try_on_records([ada()], FAILING, FAILING, NOON)) == {}
