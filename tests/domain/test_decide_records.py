"""Records that no event made, or that an event ends: newcomers, those welcomed, tombstones."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import ADA, NOON, POLICY, after, event, moment, noted, outcome
from usher.core.domain.callable_policy import CallablePolicy
from usher.core.domain.decide import decide, newcomer, tombstone, welcome
from usher.core.domain.events import EventName
from usher.core.domain.policy import Applicant, Verdict
from usher.core.domain.records import Grant, Source, Status, User
from usher.emulator.payload import ZERO_INSTANCE

LATER = moment(30)


def policy_grant(role: str) -> Grant:
    """What the policy gave later than noon."""
    return Grant(role, Source.POLICY, LATER, actor=POLICY.fingerprint)


# what Identity holds of somebody -> what the record of a newcomer holds
METADATA: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"app_metadata": {"provider": "google", "plan": 1, "roles": ["x"]}},
        {"provider": "google", "app_metadata": {"provider": "google", "plan": 1}},
    ),
    (
        {"app_metadata": {"roles": []}, "user_metadata": {"name": "Ada"}},
        {"user_metadata": {"name": "Ada"}},
    ),
    ({"app_metadata": None, "user_metadata": None}, {}),
]


@pytest.mark.parametrize(("held", "kept"), METADATA)
def test_a_newcomer_is_what_identity_says_without_its_roles(
    held: dict[str, Any], kept: dict[str, Any]
) -> None:
    """Pending, proven by nothing, and older than any event."""
    person = event("login", email="Ada@Example.com", **held).user
    assert newcomer(ZERO_INSTANCE, person, LATER) == User(
        ZERO_INSTANCE,
        ADA,
        created_at=LATER,
        updated_at=LATER,
        email="Ada@Example.com",
        email_key="ada@example.com",
        identity_created_at=NOON,
        **kept,
    )


def test_who_comes_with_a_token_is_active_with_the_policys_roles() -> None:
    """An unknown address is not proven by a token, so only rules for everybody hold."""
    caller = event("login", app_metadata={"provider": "email"}).user
    fresh = newcomer(ZERO_INSTANCE, caller, LATER)
    assert welcome(ZERO_INSTANCE, caller, None, POLICY, LATER) == replace(
        fresh, confirmed_at=LATER, grants=(policy_grant("member"),)
    )


def test_a_pending_record_is_kept_and_confirmed_by_a_token() -> None:
    """The proof, too, that an event brought."""
    pending = after([event("usermodified", confirmation_sent_at=NOON, app_metadata={})])
    assert pending is not None
    pending = replace(
        noted(pending, seen=frozenset({"old"})),
        proven=frozenset({"ada@example.com"}),
        profile={"x": 1},
    )
    caller = event("login", email="other@example.com", app_metadata={}).user
    assert welcome(ZERO_INSTANCE, caller, pending, POLICY, LATER) == replace(
        pending, confirmed_at=LATER, grants=(policy_grant("member"), policy_grant("staff"))
    )


def test_roles_that_identity_vouches_for_are_taken_over_at_a_welcome() -> None:
    """When the token was shown to Identity; what it no longer shows was taken away there."""
    caller = event("login", roles=["editor"]).user
    pending = noted(newcomer(ZERO_INSTANCE, caller, NOON), seen=frozenset({"member"}))
    found = welcome(ZERO_INSTANCE, caller, pending, POLICY, LATER)
    assert found.at_identity.seen == {"editor"}
    assert found.grants == (
        Grant("editor", Source.IDENTITY, LATER, actor="identity"),
        Grant("member", Source.IDENTITY, LATER, denies=True, actor="identity"),
        policy_grant("member"),
    )


def test_a_welcome_is_put_to_the_policy_as_a_login_of_the_record() -> None:
    """A callable sees who it is; no event told a time, so that of the request counts."""
    asked: list[Applicant] = []

    def decides(applicant: Applicant) -> Verdict:
        asked.append(applicant)
        return Verdict(admitted=False)

    caller = event("signup", email="Ada@example.com").user
    policy = CallablePolicy("tests:decides", decides)
    found = welcome(ZERO_INSTANCE, caller, None, policy, LATER)
    assert (found.status, found.grants) == (Status.ACTIVE, ())
    assert asked == [
        Applicant(
            EventName.LOGIN,
            ZERO_INSTANCE,
            ADA,
            "Ada@example.com",
            "ada@example.com",
            "example.com",
            False,
            "email",
            {"provider": "email"},
            int(LATER.timestamp()),
        )
    ]


def test_a_tombstone_keeps_ids_times_and_version() -> None:
    """Whoever writes it counts the version on."""
    user = after([event("signup", user_metadata={"name": "Ada"})])
    assert user is not None
    assert tombstone(replace(user, version=7), LATER) == User(
        ZERO_INSTANCE, ADA, user.created_at, LATER, deleted_at=LATER, version=7
    )


@pytest.mark.parametrize("name", ["login", "usermodified"])
@pytest.mark.parametrize("answered", [True, False])
def test_a_change_that_waits_for_identity_is_told_by_the_answer_to_a_login(
    name: str, answered: bool
) -> None:
    """Not by that to a usermodified, which may be lost, nor by one given without the record."""
    user = after([event("signup", app_metadata={"roles": ["member", "staff"]})])
    assert user is not None
    waiting = noted(user, pending=True, pushing=frozenset({"member"}), pushing_since=5)
    each = event(name, 1, roles=["member", "staff"], confirmed_at=NOON)
    given = None if answered else outcome(each, user).reply
    found = decide(each, waiting, POLICY, NOON, given).user
    assert found is not None
    told = (False, None, 0) if (name, answered) == ("login", True) else (True, {"member"}, 5)
    there = found.at_identity
    assert (there.pending, there.pushing, there.pushing_since) == told


def test_an_older_answer_tells_identity_nothing() -> None:
    """Identity has seen a newer one already."""
    user = after([event("login", 10)])
    assert user is not None
    found = outcome(event("login", 5), noted(user, pending=True)).user
    assert found is not None
    assert found.at_identity.pending


def test_an_event_that_comes_again_is_not_newer() -> None:
    """It takes nothing over a second time."""
    user = after([event("login", 10)])
    assert outcome(event("login", 10), user).reasons[-1].rule == "event.older"


def test_identitys_deletion_of_the_deleted_ends_the_wait() -> None:
    """A tombstone that waited to be told there waits no longer; nothing else changes."""
    gone = after([event("userdeleted")])
    assert gone is not None
    for waiting in (True, False):
        found = outcome(event("userdeleted", 1), noted(gone, pending=waiting))
        assert (found.user, found.reply.status, found.audit) == (gone, 204, None)


def test_a_record_is_as_new_as_the_change() -> None:
    """``updated_at`` is the time of receipt, whatever the event's own time."""
    user = after([event("login", -60)])
    found = outcome(event("usermodified", -1, email="new@example.com"), user, now=LATER).user
    assert found is not None
    assert (found.updated_at, found.created_at) == (LATER, NOON)
    assert timedelta(seconds=30) == LATER - NOON
