"""The algebra of roles and the three-way merge, as tables."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import NOON, T0, after, event, outcome
from usher.core.domain.administration import grant_role, reactivate_user, revoke_role, suspend_user
from usher.core.domain.at_identity import AtIdentity
from usher.core.domain.held_roles import HeldRoles
from usher.core.domain.records import Grant, Source, User
from usher.core.domain.roles import effective, follow_policy, merge
from usher.core.errors import RoleInvalidError, UserDeletedError

P, A, I = Source.POLICY, Source.ADMINISTRATOR, Source.IDENTITY  # noqa: E741


def grant(role: str, source: Source = A, **fields: object) -> Grant:
    """A grant or denial made at noon."""
    return Grant(role, source, NOON, **fields)  # type: ignore[arg-type]


def user() -> User:
    """Ada after her signup."""
    found = after([event("signup", 0)])
    assert found is not None
    return found


def test_a_role_that_was_given_just_so_is_not_given_again() -> None:
    """Later, and by somebody else; with an end or another reason it is a new grant."""
    given = grant_role(user(), "editor", actor="cli", now=NOON, reason="helps")
    later = NOON + timedelta(hours=1)
    assert grant_role(given, "editor", actor="key:x", now=later, reason="helps") is given
    for other in ({"reason": "leads"}, {"reason": "helps", "expires_at": later}):
        assert grant_role(given, "editor", actor="cli", now=NOON, **other) != given


@pytest.mark.parametrize(
    ("grants", "roles"),
    [
        ((), set()),
        ((grant("a", P), grant("b", A), grant("c", I)), {"a", "b", "c"}),
        ((grant("a", P), grant("a", A, denies=True)), set()),
        ((grant("a", A), grant("a", P), grant("a", I, denies=True)), set()),
        ((grant("a", A, expires_at=NOON),), set()),
        ((grant("a", A, expires_at=NOON + timedelta(seconds=1)),), {"a"}),
        ((grant("a", P), grant("a", A, denies=True, expires_at=NOON)), {"a"}),
    ],
)
def test_a_denial_beats_grants_and_both_can_end(grants: tuple[Grant, ...], roles: set[str]) -> None:
    """Effective roles: granted by any source, denied by none, not ended."""
    assert effective(grants, NOON) == roles


# name: grants before, payload, seen, sent, withdrawn -> roles after
MERGES = {
    "added at Identity": ((), {"x"}, set(), {}, {}, {"x"}),
    "seen before, so no change": ((), {"x"}, {"x"}, {}, {}, set()),
    "an echo of our reply": ((), {"x"}, set(), {"x": T0}, {}, set()),
    "a late echo of our reply": ((), {"x"}, set(), {"x": T0 - 90_000}, {}, set()),
    "effective already": ((grant("x", P),), {"x"}, set(), {}, {}, {"x"}),
    "removed at Identity": ((grant("x", I),), set(), {"x"}, {}, {}, set()),
    "policy role removed at Identity": ((grant("x", P),), set(), {"x"}, {}, {}, set()),
    "our role removed at Identity": ((grant("x", A),), set(), {"x"}, {}, {}, set()),
    "our own removal echoes": ((grant("x", A),), set(), {"x"}, {}, {"x": T0}, {"x"}),
    "a reply that was rolled back": ((grant("x", P),), set(), set(), {"x": T0}, {}, {"x"}),
    "given again at Identity": (
        (grant("x", P), grant("x", I, denies=True)),
        {"x"},
        set(),
        {},
        {},
        {"x"},
    ),
    "given at Identity against our denial": (
        (grant("x", A, denies=True),),
        {"x"},
        set(),
        {},
        {},
        set(),
    ),
}


@pytest.mark.parametrize("name", MERGES)
def test_the_three_way_merge(name: str) -> None:
    """Added there, removed there, or merely our own echo."""
    grants, payload, seen, sent, withdrawn, roles = MERGES[name]
    there = AtIdentity(frozenset(seen), sent, withdrawn)
    found = merge(grants, there, HeldRoles(frozenset(payload)), NOON)
    assert effective(found.grants, NOON) == roles
    assert found.at_identity.seen == payload


def test_an_administrators_grant_stays_on_record_under_identitys_denial() -> None:
    """Nobody's word is lost: both can be read afterwards."""
    found = merge((grant("x", A),), AtIdentity(frozenset({"x"})), HeldRoles(), NOON)
    assert {(g.source, g.denies) for g in found.grants} == {(A, False), (I, True)}


@pytest.mark.parametrize(
    ("payload", "age", "kept"), [({"x"}, 0, False), (set(), 3600, True), (set(), 3601, False)]
)
def test_sent_is_kept_until_shown_or_contradicted_after_an_hour(
    payload: set[str], age: int, kept: bool
) -> None:
    """A payload without the role may be older than the reply; an hour later it is not."""
    found = merge((), AtIdentity(sent={"x": T0 - age}), HeldRoles(frozenset(payload)), NOON)
    assert ("x" in found.at_identity.sent) is kept


def test_a_role_revoked_here_does_not_come_back_through_a_late_echo() -> None:
    """Answered, revoked, and only much later seen at Identity: still our own echo."""
    ada = user()
    assert set(ada.at_identity.sent) == {"member", "staff"}
    ada = revoke_role(ada, "staff", actor="cli", now=NOON)
    later = NOON + timedelta(hours=5)
    found = outcome(event("login", 18_000, roles=["member", "staff"]), ada, now=later)
    assert found.user is not None
    assert effective(found.user.grants, later) == {"member"}
    assert found.reply.app_metadata == {"provider": "email", "roles": ["member"]}


def test_a_role_given_again_survives_the_echo_of_its_withdrawal() -> None:
    """What our own answer removed at Identity was not removed by a person there."""
    ada = after([event("login", 1, roles=["member", "staff", "editor"])], user())
    assert ada is not None
    ada = revoke_role(ada, "editor", actor="cli", now=NOON)
    ada = outcome(event("login", 2, roles=["member", "staff", "editor"]), ada).user
    assert ada is not None
    ada = grant_role(ada, "editor", actor="cli", now=NOON)
    found = outcome(event("login", 3, roles=["member", "staff"]), ada)
    assert found.user is not None
    assert "editor" in effective(found.user.grants, NOON)


def test_revoking_a_policy_role_leaves_a_denial_that_the_policy_cannot_undo() -> None:
    """The next login recomputes the policy, and the denial stands."""
    ada = revoke_role(user(), "member", actor="cli", now=NOON, reason="spam")
    found = outcome(event("login", 5), ada)
    assert found.user is not None
    assert effective(found.user.grants, NOON) == {"staff"}
    assert "denial.administrator" in [reason.rule for reason in found.reasons]


def test_a_denial_outlives_the_rule_it_was_made_against() -> None:
    """Revoked twice, once while the policy gave it and once while not: still denied."""
    ada = revoke_role(user(), "staff", actor="cli", now=NOON)
    ada = replace(ada, grants=follow_policy(ada.grants, {"member"}, "f", NOON))
    ada = revoke_role(ada, "staff", actor="cli", now=NOON)
    ada = replace(ada, grants=follow_policy(ada.grants, {"member", "staff"}, "f", NOON))
    assert effective(ada.grants, NOON) == {"member"}


def test_granting_clears_every_denial_of_that_role() -> None:
    """An administrator's newest word counts."""
    ada = revoke_role(user(), "staff", actor="cli", now=NOON)
    ada = grant_role(ada, "staff", actor="cli", now=NOON)
    assert "staff" in effective(ada.grants, NOON)


def test_the_policys_grants_have_the_ends_that_it_says() -> None:
    """A changed end is a change; the time of the first grant stays, and so do others' words."""
    soon, later = NOON + timedelta(1), NOON + timedelta(2)
    others = (grant("guest"), grant("staff"))
    first = follow_policy(others, {"guest", "member"}, "f", NOON, {"guest": soon})
    assert set(first) == {
        *others,
        grant("guest", P, actor="f", expires_at=soon),
        grant("member", P, actor="f"),
    }
    assert follow_policy(first, {"guest", "member"}, "g", later, {"guest": soon}) == first
    longer = follow_policy(first, {"guest", "member"}, "g", later, {"guest": later})
    assert set(longer) - set(first) == {grant("guest", P, actor="g", expires_at=later)}
    for_ever = follow_policy(longer, {"guest", "member"}, "h", later)
    assert set(for_ever) - set(first) == {grant("guest", P, actor="h")}
    assert follow_policy(for_ever, set(), "i", later) == others
    assert follow_policy((), {"guest"}, "f", NOON, {"guest": soon}) == (
        grant("guest", P, actor="f", expires_at=soon),
    )


@pytest.mark.parametrize("role", ["", " x", "x ", "x" * 101, "a\nb", "\x00"])
def test_what_is_no_role_name_is_refused(role: str) -> None:
    """Names have 1 to 100 characters, no control character, no outer space."""
    with pytest.raises(RoleInvalidError):
        grant_role(user(), role, actor="cli", now=NOON)


def test_suspension_ends_where_it_began() -> None:
    """Reactivation gives back the status of before; suspending twice keeps the first time."""
    ada = user()
    shut = suspend_user(ada, now=NOON)
    assert suspend_user(shut, now=NOON + timedelta(1)).suspended_at == NOON
    assert reactivate_user(shut) == ada


def test_a_tombstone_cannot_be_changed() -> None:
    """No command works on a deleted user."""
    gone = after([event("userdeleted", 1)])
    assert gone is not None
    with pytest.raises(UserDeletedError):
        grant_role(gone, "x", actor="cli", now=NOON)
    with pytest.raises(UserDeletedError):
        revoke_role(gone, "x", actor="cli", now=NOON)
    with pytest.raises(UserDeletedError):
        suspend_user(gone, now=NOON)
    with pytest.raises(UserDeletedError):
        reactivate_user(gone)
