"""Why each decision was made, word for word: what an operator reads, and a person is told."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import (
    NAMES,
    NOON,
    POLICY,
    after,
    event,
    message,
    moment,
    noted,
    outcome,
)
from tests.domain.test_decide_table import STATES, state
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.policy import Applicant, Reason, Verdict
from usher.core.domain.records import Grant, Outcome, Source
from usher.core.domain.roles import effective
from usher.core.domain.rules import FilePolicy

ADMITTED = Reason("admission.default", "everyone is admitted by default")
ROLES = (
    Reason("role.1", "grants 'member' to everybody"),
    Reason("role.2", "grants 'staff' to everybody whose proven address is at example.com"),
)
PENDING = Reason("user.pending", "the policy gives roles to confirmed accounts only")
WAITS = Reason("user.waiting", "no roles before an administrator approves this user")
ERASED = Reason("event.userdeleted", "deleted at Identity; personal data erased, id kept")
SUSPENDED = Reason("user.suspended", "an administrator suspended this user")
HELD = Reason("user.suspended", "no roles are answered for a suspended user")
GONE = Reason("user.deleted", "this user was deleted; ids are never used again")


def kept(name: str, status: str) -> Reason:
    """The event has nothing to say to such a user."""
    return Reason(f"user.{status}", f"{name} changes no user who is {status}")


WHY: dict[tuple[str, str], tuple[Reason, ...]] = {
    ("validate", "unknown"): (ADMITTED,),
    ("validate", "pending"): (ADMITTED,),
    ("validate", "waiting"): (kept("validate", "waiting"),),
    ("validate", "active"): (kept("validate", "active"),),
    ("validate", "suspended"): (SUSPENDED,),
    ("validate", "deleted"): (kept("validate", "deleted"),),
    ("signup", "unknown"): (ADMITTED, *ROLES),
    ("signup", "pending"): (ADMITTED, *ROLES),
    ("signup", "waiting"): (ADMITTED, *ROLES),
    ("signup", "active"): (ADMITTED, *ROLES),
    ("signup", "suspended"): (SUSPENDED,),
    ("signup", "deleted"): (kept("signup", "deleted"),),
    ("login", "unknown"): ROLES,
    ("login", "pending"): ROLES,
    ("login", "waiting"): ROLES,
    ("login", "active"): ROLES,
    ("login", "suspended"): (SUSPENDED,),
    ("login", "deleted"): (GONE,),
    ("usermodified", "unknown"): (PENDING,),
    ("usermodified", "pending"): (PENDING,),
    ("usermodified", "waiting"): (WAITS,),
    ("usermodified", "active"): ROLES,
    ("usermodified", "suspended"): (*ROLES, HELD),
    ("usermodified", "deleted"): (kept("usermodified", "deleted"),),
    ("userdeleted", "unknown"): (ERASED,),
    ("userdeleted", "pending"): (ERASED,),
    ("userdeleted", "waiting"): (ERASED,),
    ("userdeleted", "active"): (ERASED,),
    ("userdeleted", "suspended"): (ERASED,),
    ("userdeleted", "deleted"): (kept("userdeleted", "deleted"),),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("status", STATES)
def test_the_reasons_of_every_cell(name: str, status: str) -> None:
    """In their order, and nothing besides."""
    found = outcome(event(name, email="ada@example.com"), state(status))
    assert found.reasons == WHY[name, status]
    told = {GONE: "This account was deleted.", SUSPENDED: "This account is suspended."}
    assert message(found.reply) == told.get(found.reasons[0], "")


@pytest.mark.parametrize("name", ["validate", "signup"])
def test_a_denial_names_the_rule_that_denied(name: str) -> None:
    """And no other."""
    found = outcome(event(name, email="eve@bad.example"))
    assert [reason.rule for reason in found.reasons] == ["admission.deny_email_domains"]


def test_an_older_event_says_so_after_the_roles() -> None:
    """Whatever the policy said is kept in front."""
    user = after([event("login", 10)])
    older = Reason("event.older", "a newer event wrote this profile already")
    assert outcome(event("usermodified", 5, confirmed_at=NOON), user).reasons == (*ROLES, older)


def test_without_a_rule_that_fits_that_is_said() -> None:
    """A person with no role asks why."""
    policy = replace(POLICY, roles=())
    rules = [reason.rule for reason in outcome(event("login"), policy=policy).reasons]
    assert len(rules) == 1


def test_the_policy_is_asked_about_the_event_and_the_record() -> None:
    """A callable may decide by the event's name; the same question is asked once only."""
    asked: list[Applicant] = []

    def decide(applicant: Applicant) -> Verdict:
        asked.append(applicant)
        return Verdict(True, roles=frozenset({"member"}))

    policy = CallablePolicy("tests:decide", decide)
    user = outcome(event("validate", -2), policy=policy).user
    outcome(event("signup", -1), None, policy)
    user = outcome(event("signup", -1), user, policy).user
    assert [each.event for each in asked] == ["validate", "signup", "signup"]
    del asked[1]
    user = outcome(event("login", 0), user, policy).user
    assert [each.event for each in asked] == ["validate", "signup", "login"]
    # A signup that says less than the record knows is two questions: about itself, and about both.
    outcome(event("signup", 1, proven=False), user, policy)
    assert [each.proven for each in asked[3:]] == [False, True]


def test_grants_of_the_policy_tell_when_and_by_which_policy() -> None:
    """The record can be explained later."""
    user = after([event("signup")], now=moment(7))
    assert user is not None
    grants = [grant for grant in user.grants if grant.source is Source.POLICY]
    assert {grant.created_at for grant in grants} == {moment(7)}
    assert {grant.actor for grant in grants} == {POLICY.fingerprint}


def test_a_grant_that_has_ended_is_not_answered() -> None:
    """By the time of receipt."""
    user = after([event("signup", 0, roles=["member", "staff"])])
    assert user is not None
    grants = tuple(replace(grant, expires_at=NOON + timedelta(hours=1)) for grant in user.grants)
    later = NOON + timedelta(hours=2)
    ended = replace(user, grants=grants)
    assert effective(ended.grants, later) == frozenset()
    assert outcome(event("login", 1, roles=["x"]), ended, now=later).outcome is Outcome.APPLIED


def test_a_record_is_told_from_its_tombstone_by_its_time_and_version() -> None:
    """A tombstone is a newer version, written at the time of deletion."""
    user = after([event("signup")])
    assert user is not None
    gone = outcome(event("userdeleted", 5), user, now=moment(9)).user
    assert gone is not None
    assert (gone.updated_at, gone.deleted_at, gone.version) == (
        moment(9), moment(9), user.version + 1,
    )  # fmt: skip
    at_once = outcome(event("userdeleted", 5), now=moment(9)).user
    assert at_once is not None
    assert (at_once.updated_at, at_once.version) == (moment(9), 1)


def test_a_role_that_somebody_denies_is_named_with_who() -> None:
    """Of those that a grant gives; a denial that ended, or that denies nothing, is no reason."""
    user = after([event("signup")])
    assert user is not None
    denials = [
        ("member", Source.ADMINISTRATOR, None),
        ("member", Source.IDENTITY, NOON + timedelta(hours=1)),
        ("staff", Source.ADMINISTRATOR, NOON),
        ("editor", Source.ADMINISTRATOR, None),
    ]
    said = tuple(
        Grant(role, source, NOON, denies=True, expires_at=end) for role, source, end in denials
    )
    found = outcome(event("login", 1), replace(user, grants=user.grants + said))
    assert found.reasons == (
        *ROLES,
        Reason("denial.administrator", "no 'member': denied by administrator"),
        Reason("denial.identity", "no 'member': denied by identity"),
    )
    assert found.reply.app_metadata == {"provider": "email", "roles": ["staff"]}


def test_what_a_push_takes_away_was_taken_away_by_nobody_at_identity() -> None:
    """While it is being written, a payload shows our own change."""
    user = after([event("signup", roles=["member", "staff"])])
    assert user is not None
    user = noted(user, pushing=frozenset({"member"}), pushing_since=int(NOON.timestamp()))
    for later, rules in (
        (119, ["role.1", "role.2"]),
        (120, ["role.1", "role.2", "identity.removed", "denial.identity"]),
    ):
        found = outcome(event("login", 1, roles=["member"]), user, now=moment(later))
        assert [reason.rule for reason in found.reasons] == rules


@pytest.mark.parametrize("name", ["signup", "login"])
def test_whom_no_rule_concerns_is_told_so(name: str) -> None:
    """Nobody should wonder why there is no role."""
    nothing = Reason("policy.no_rule", "no role rule of the policy concerns this user")
    assert nothing in outcome(event(name), policy=FilePolicy()).reasons
