"""Waiting for approval: no role before it, whatever comes, in whatever order."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.decide_support import ASKING, NOON, POLICY, after, event, message, moment, outcome
from tests.domain.test_decide_properties import events, state
from tests.profiles import examples
from usher.core.domain.administration import (
    Change,
    approve,
    approve_user,
    grant_role,
    reactivate_user,
    replace_roles,
    revoke_role,
    suspend_user,
)
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.decide import admit, decide, welcome
from usher.core.domain.events import Event
from usher.core.domain.outage import answer_without_record
from usher.core.domain.policy import Verdict
from usher.core.domain.push import must_be_told, wanted_roles
from usher.core.domain.records import Grant, Outcome, Source, Status, User
from usher.core.domain.roles import effective, take_over
from usher.core.domain.sync import Kind, adopt, compare
from usher.core.errors import RoleInvalidError, UserNotWaitingError, UserWaitingError
from usher.core.policy_file import parse_policy
from usher.emulator.payload import ZERO_INSTANCE

OTHER = "ada@other.org"
EDITOR = Grant("editor", Source.ADMINISTRATOR, NOON, actor="cli:me")


def waiting(**fields: Any) -> User:
    """Ada, who has signed up and waits."""
    user = after([event("signup", -9, email=OTHER, **fields)], policy=ASKING)
    assert user is not None
    assert user.status is Status.WAITING
    return user


def nothing_before_approval(user: User | None) -> None:
    """Somebody who waits has no grants but denials, and so no role."""
    if user is not None and user.waiting_since is not None:
        assert all(grant.denies for grant in user.grants)
        assert effective(user.grants, NOON) == frozenset()


def _without_editor(user: User | None) -> User | None:
    """Without the role at Identity: it counts only if nobody waited when it was first shown."""
    if user is None:
        return None
    return replace(user, grants=tuple(one for one in user.grants if one.role != "editor"))


@settings(max_examples=examples(100))
@given(st.data())
def test_no_role_before_approval_under_any_order_and_duplication(data: st.DataObject) -> None:
    """Whoever no single event lets in waits, and no answer tells them a role; order is nothing."""
    roles = data.draw(st.sampled_from(((), ("editor",), None)))
    history = data.draw(st.lists(events(roles), min_size=1, max_size=6))
    repeated = history + data.draw(st.lists(st.sampled_from(history), max_size=3))
    shuffled = data.draw(st.permutations(repeated))
    one, other = after(history, policy=ASKING), after(shuffled, policy=ASKING)
    assert state(_without_editor(one)) == state(_without_editor(other))
    user = None
    for each in shuffled:
        found = decide(each, user, ASKING, NOON)
        user = found.user
        nothing_before_approval(user)
        if user is not None and user.status is Status.WAITING:
            assert not (found.reply.app_metadata or {}).get("roles")


@settings(max_examples=examples(100))
@given(st.lists(events(), max_size=4), st.lists(events(), max_size=5))
def test_who_was_approved_never_waits_again(before: list[Event], later: list[Event]) -> None:
    """No event that asks takes an approval back."""
    user = after([*before, event("signup", 3, email=OTHER)], policy=ASKING)
    assert user is not None
    if user.status is Status.WAITING:
        user = approve_user(user, ASKING, ["editor"], actor="cli:me", now=NOON)
    if user.status is not Status.ACTIVE:
        return
    for each in later:
        user = outcome(each, user, ASKING).user
        assert user is not None
        assert user.waiting_since is None


@given(st.lists(events(), max_size=5))
def test_one_event_that_is_let_in_is_enough(history: list[Event]) -> None:
    """Before all others or after them; only a deletion or a refusal is left besides."""
    good = event("login", 2, email="ada@example.com", proven=True)
    for order in ([*history, good], [good, *history]):
        user = after(order, policy=ASKING)
        assert user is not None
        assert user.status in (Status.ACTIVE, Status.DELETED)


def test_a_refusal_that_asks_counts_where_nobody_can_be_refused() -> None:
    """At signup it refuses; at a login of somebody unknown it makes them wait."""
    refused = outcome(event("signup", email="eve@bad.example"), policy=ASKING)
    assert (refused.outcome, message(refused.reply)) == (Outcome.DENIED, "Not you.")
    found = outcome(event("login", email="eve@bad.example"), policy=ASKING)
    assert found.user is not None
    assert found.user.status is Status.WAITING
    plain = CallablePolicy("tests:plain", lambda _: Verdict(False))
    found = outcome(event("login"), policy=plain)
    assert found.user is not None
    assert found.user.status is Status.ACTIVE
    kept = outcome(event("login"), waiting(), plain)
    assert kept.user is not None
    assert kept.user.status is Status.WAITING


def test_the_reasons_say_that_somebody_waits() -> None:
    """With the rule that asks before it."""
    for name in ("signup", "login"):
        rules = [reason.rule for reason in outcome(event(name, email=OTHER), policy=ASKING).reasons]
        assert rules == ["tests:asks", "user.waiting"]
    assert [one.rule for one in outcome(event("login"), waiting(), ASKING).reasons][-2:] == [
        "tests:asks",
        "tests:asks",
    ]


def test_an_answer_to_somebody_who_waits_has_nothing_of_the_policy() -> None:
    """Its constants may be rights; what an administrator added stays."""
    found = outcome(event("signup", email=OTHER, roles=["editor"]), policy=ASKING)
    assert found.reply.app_metadata == {"provider": "email", "roles": []}
    assert outcome(event("signup", email=OTHER), policy=ASKING).reply.status == 204
    added = replace(waiting(), extra_app_metadata={"seat": 4})
    answered = outcome(event("login", email=OTHER), added, ASKING).reply.app_metadata
    assert answered == {"provider": "email", "seat": 4}


def test_the_audit_tells_of_waiting_and_of_the_end_of_it() -> None:
    """The status is part of the record that it tells of."""
    begun = outcome(event("signup", email=OTHER), policy=ASKING)
    assert begun.audit is not None
    assert begun.audit.after["status"] == "waiting"
    ended = outcome(event("login", 5), begun.user, POLICY)
    assert ended.audit is not None
    assert (ended.audit.before or {})["status"] == "waiting"
    assert ended.audit.after["status"] == "active"


def test_roles_at_identity_are_no_approval() -> None:
    """Neither before nor after it: they are taken off there, and come back by nobody."""
    user = waiting(roles=["editor"])
    user_after = outcome(event("usermodified", 1, email=OTHER, roles=["editor", "boss"]), user)
    assert user_after.user is not None
    assert (user_after.user.grants, user_after.reply.app_metadata) == (
        (),
        {"provider": "email", "roles": []},
    )
    approved = approve_user(user_after.user, POLICY, actor="cli:me", now=NOON)
    later = outcome(event("login", 2, email=OTHER, roles=["editor", "boss"]), approved)
    assert later.user is not None
    assert effective(later.user.grants, NOON) == {"member"}


def test_roles_given_at_identity_before_the_account_was_confirmed_are_no_approval() -> None:
    """They were on record, and go when the person begins to wait."""
    pending = after([event("usermodified", -9, email=OTHER, roles=["editor"])])
    assert pending is not None
    assert pending.grants
    found = outcome(event("signup", email=OTHER, roles=["editor"]), pending, ASKING)
    assert found.user is not None
    assert (found.user.status, found.user.grants) == (Status.WAITING, ())


@pytest.mark.parametrize(
    ("grant", "status"),
    [
        (EDITOR, Status.ACTIVE),
        (replace(EDITOR, denies=True), Status.WAITING),
        (replace(EDITOR, expires_at=NOON), Status.WAITING),
        (replace(EDITOR, source=Source.IDENTITY), Status.WAITING),
    ],
)
def test_a_role_by_an_administrator_before_the_account_is_an_approval(
    grant: Grant, status: Status
) -> None:
    """As long as it holds."""
    pending = after([event("validate", -9)])
    assert pending is not None
    found = outcome(event("signup", email=OTHER), replace(pending, grants=(grant,)), ASKING).user
    assert found is not None
    assert found.status is status


def test_an_event_that_confirms_nobody_settles_nothing() -> None:
    """A usermodified of an account that is not confirmed says nothing of who may enter."""
    assert after([event("usermodified", 1)], waiting()) is not None
    user = after([event("usermodified", 1)], waiting())
    assert user is not None
    assert user.status is Status.WAITING
    user = after([event("usermodified", 2, confirmed_at=moment(1))], user)
    assert user is not None
    assert user.status is Status.ACTIVE


def test_the_suspended_wait_on_and_are_let_in_again_as_they_were() -> None:
    """A usermodified that is let in counts meanwhile, as at any other time."""
    user = suspend_user(waiting(), now=NOON)
    assert user.status is Status.SUSPENDED
    assert reactivate_user(user).status is Status.WAITING
    changed = outcome(event("usermodified", 1, confirmed_at=NOON, email=OTHER), user, ASKING).user
    assert changed is not None
    assert reactivate_user(changed).status is Status.WAITING
    changed = outcome(event("usermodified", 1, confirmed_at=NOON), user).user
    assert changed is not None
    assert reactivate_user(changed).status is Status.ACTIVE
    with pytest.raises(UserNotWaitingError, match="suspended"):
        approve_user(user, POLICY, actor="cli:me", now=NOON)


# --- without an event ------------------------------------------------------------------------


def test_a_token_before_any_event_makes_somebody_wait() -> None:
    """Its first sight asks; a role that Identity shows with it is none."""
    person = event("login", email=OTHER, roles=["editor"]).user
    user = welcome(ZERO_INSTANCE, person, None, ASKING, NOON)
    assert (user.status, user.grants) == (Status.WAITING, ())
    without = event("login", email=OTHER).user
    assert welcome(ZERO_INSTANCE, without, None, ASKING, NOON).status is Status.WAITING
    assert welcome(ZERO_INSTANCE, without, None, POLICY, NOON).status is Status.ACTIVE
    pending = after([event("validate", -9, email=OTHER)])
    assert welcome(ZERO_INSTANCE, without, pending, ASKING, NOON).status is Status.WAITING


def test_a_sync_makes_the_unknown_wait_and_gives_them_nothing() -> None:
    """An account that it finds is no approval either, whatever roles it has."""
    person = event("usermodified", email=OTHER, confirmed_at=NOON, roles=["editor"]).user
    user = adopt(ZERO_INSTANCE, person, None, ASKING, NOON)
    assert (user.status, user.grants) == (Status.WAITING, ())
    assert compare(person, user, NOON) == (Kind.ROLES_HERE,)  # taken off at Identity
    staff = event("usermodified", confirmed_at=NOON, proven=True).user
    for each in (person, staff):  # events and administrators let somebody in, a sync never
        assert adopt(ZERO_INSTANCE, each, user, ASKING, NOON).status is Status.WAITING
    known = adopt(ZERO_INSTANCE, staff, None, ASKING, NOON)
    assert known.status is Status.ACTIVE
    assert effective(known.grants, NOON) == {"member", "staff"}
    assert adopt(ZERO_INSTANCE, person, known, ASKING, NOON).status is Status.ACTIVE


def test_a_sync_knows_who_was_invited() -> None:
    """Else it would make people wait whom the policy lets in."""
    rule = '[admission]\ndefault = "ask"\n[[rule]]\nallow = true\ninvited = true'
    policy = parse_policy(rule)
    guest = event("usermodified", email=OTHER, confirmed_at=NOON, invited_at=NOON).user
    assert adopt(ZERO_INSTANCE, guest, None, policy, NOON).status is Status.ACTIVE
    known = adopt(ZERO_INSTANCE, guest, after([event("validate", -9, email=OTHER)]), policy, NOON)
    assert (known.status, known.invited) == (Status.ACTIVE, True)
    stranger = event("usermodified", email=OTHER, confirmed_at=NOON).user
    assert adopt(ZERO_INSTANCE, stranger, None, policy, NOON).status is Status.WAITING


def test_a_look_at_the_account_takes_over_no_role_of_somebody_who_waits() -> None:
    """A push looks, too."""
    user = take_over(waiting(), event("login", roles=["editor"]).user.held_roles, NOON)
    assert (user.grants, user.at_identity.seen) == ((), {"editor"})
    assert wanted_roles(user, NOON) == frozenset()
    assert must_be_told(None, user, NOON)


def test_the_answer_without_a_record_tells_no_role_where_the_policy_asks() -> None:
    """While the database is away."""
    reply = answer_without_record(event("signup", email=OTHER, roles=["editor"]), ASKING, NOON)
    assert reply is not None
    assert reply.app_metadata == {"provider": "email", "roles": []}


def test_a_verdict_on_somebody_settled_changes_nothing() -> None:
    """The record itself is given back."""
    settled = after([event("signup")])
    assert settled is not None
    assert admit(settled, settled, Verdict(asks=True), NOON) is settled


# --- administrators --------------------------------------------------------------------------


def test_an_approval_gives_the_policys_roles_of_now_and_the_administrators() -> None:
    """With an end for the latter; a denial from before holds against the policy's."""
    end = NOON + timedelta(days=9)
    command = approve(ASKING, ["editor", "author"], expires_at=end)
    denied = revoke_role(
        replace(waiting(), grants=(Grant("member", Source.POLICY, NOON),)),
        "member",
        actor="cli:me",
        now=NOON,
    )
    before = replace(denied, grants=tuple(one for one in denied.grants if one.denies))
    user = command.apply(before, Change("cli:me", "known to me"), NOON)
    assert (command.action, user.status) == ("user.approved", Status.ACTIVE)
    assert effective(user.grants, NOON) == {"author", "editor"}
    given_here = [
        one for one in user.grants if one.source is Source.ADMINISTRATOR and not one.denies
    ]
    assert {(one.role, one.expires_at, one.reason) for one in given_here} == {
        ("author", end, "known to me"),
        ("editor", end, "known to me"),
    }
    assert ("member", Source.POLICY) in [(one.role, one.source) for one in user.grants]


@pytest.mark.parametrize("status", ["pending", "active", "deleted"])
def test_only_who_waits_is_approved(status: str) -> None:
    """A second approval finds nothing to do, and says so."""
    found = {
        "pending": after([event("validate")]),
        "active": after([event("signup")]),
        "deleted": after([event("userdeleted")]),
    }[status]
    assert found is not None
    with pytest.raises(UserNotWaitingError, match=status):
        approve_user(found, POLICY, actor="cli:me", now=NOON)


def test_a_role_is_given_to_somebody_who_waits_by_approval_alone() -> None:
    """Or an administrator would let them in without meaning it."""
    user = waiting()
    with pytest.raises(UserWaitingError):
        grant_role(user, "editor", actor="cli:me", now=NOON)
    with pytest.raises(UserWaitingError):
        replace_roles(user, ["editor"], actor="cli:me", now=NOON)
    assert replace_roles(user, [], actor="cli:me", now=NOON) == user
    assert revoke_role(user, "editor", actor="cli:me", now=NOON) == user
    with pytest.raises(RoleInvalidError):
        approve_user(user, POLICY, [" "], actor="cli:me", now=NOON)
