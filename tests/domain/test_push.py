"""One push, step by step, with whatever may happen between two steps."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import NOON, POLICY, after, event, noted, outcome
from usher.core.domain.administration import (
    edit_app_metadata,
    grant_role,
    revoke_role,
    suspend_user,
)
from usher.core.domain.at_identity import WRITE_SECONDS
from usher.core.domain.decide import decide, tombstone
from usher.core.domain.events import IdentityUser
from usher.core.domain.in_flight import IN_FLIGHT_SECONDS
from usher.core.domain.push import (
    conclude,
    must_be_told,
    patch_for,
    prepare,
    wanted_roles,
)
from usher.core.domain.records import Source, User
from usher.core.opaque import SetAside

LATER = NOON + timedelta(minutes=5)


def held(*roles: str, at: int = 300, **app_metadata: Any) -> IdentityUser:
    """The account as Identity answers about it."""
    metadata = {"provider": "email", **app_metadata}
    return event("usermodified", at, app_metadata=metadata | {"roles": list(roles)}).user


@pytest.fixture
def ada() -> User:
    """She has the policy's roles, here and at Identity."""
    found = after([event("login", roles=["member", "staff"])])
    assert found is not None
    return found


def grant(user: User, role: str) -> User:
    """A role is given here."""
    return grant_role(user, role, actor="test", now=LATER)


def revoke(user: User, role: str) -> User:
    """A role is taken away here."""
    return revoke_role(user, role, actor="test", now=LATER)


def told(user: User, *roles: str, at: int) -> User:
    """After Identity's event about a change there."""
    each = event("usermodified", at, roles=list(roles), confirmed_at=NOON)
    found = decide(each, user, POLICY, LATER).user
    assert found is not None
    return found


def test_what_must_be_told(ada: User) -> None:
    """Roles, further app_metadata, suspension and deletion; nothing that Identity has."""
    assert not must_be_told(ada, ada, LATER)
    assert must_be_told(ada, grant(ada, "editor"), LATER)
    assert must_be_told(ada, revoke(ada, "staff"), LATER)
    assert not must_be_told(ada, replace(ada, profile={"nick": "A"}), LATER)
    assert not must_be_told(ada, grant(ada, "staff"), LATER)
    assert must_be_told(ada, edit_app_metadata(ada, {"plan": "gold"}), LATER)
    assert not must_be_told(ada, edit_app_metadata(ada, {"plan": None}), LATER)
    assert must_be_told(ada, suspend_user(ada, now=LATER), LATER)
    assert must_be_told(ada, tombstone(ada, LATER), LATER)
    assert must_be_told(None, tombstone(ada, LATER), LATER)
    assert not must_be_told(tombstone(ada, LATER), tombstone(ada, LATER), LATER)


def test_roles_that_were_answered_count_as_told(ada: User) -> None:
    """They are on their way; a suspended user shall have none."""
    waiting = after([event("signup")])
    assert waiting is not None
    assert set(waiting.at_identity.sent) == {"member", "staff"}
    assert not must_be_told(None, waiting, LATER)
    assert wanted_roles(suspend_user(ada, now=LATER), LATER) == frozenset()


@pytest.mark.parametrize(
    ("account", "patch"),
    [
        (held("member", "staff"), {}),
        (held("staff", "member"), {}),
        (held("member"), {"roles": ["member", "staff"]}),
        (held("member", "staff", "staff"), {"roles": ["member", "staff"]}),
        (event("login", app_metadata={"roles": "member"}).user, {"roles": ["member", "staff"]}),
        (event("login", app_metadata=None).user, {"roles": ["member", "staff"]}),
        (held("member", "staff", plan="gold"), {}),
    ],
)
def test_only_what_differs_is_written(ada: User, account: IdentityUser, patch: Any) -> None:
    """And never a key that nobody here set."""
    assert patch_for(ada, account, LATER) == patch


@pytest.mark.parametrize(
    ("extra", "there", "patch"),
    [
        ({"plan": "gold"}, {}, {"plan": "gold"}),
        ({"plan": "gold"}, {"plan": "silver"}, {"plan": "gold"}),
        ({"plan": "gold"}, {"plan": "gold"}, {}),
        ({"plan": None}, {"plan": "gold"}, {"plan": None}),
        ({"plan": None}, {}, {}),
        ({"plan": False}, {"plan": 0, "x": 1}, {"plan": False}),
        ({"plan": 1.0}, {"plan": 1}, {}),
    ],
)
def test_further_app_metadata_is_written_by_key(
    ada: User, extra: Any, there: Any, patch: Any
) -> None:
    """A null takes its key away there, once."""
    user = replace(ada, extra_app_metadata=extra)
    assert patch_for(user, held("member", "staff", **there), LATER) == patch


@pytest.mark.parametrize("replaced", [False, True])
def test_a4_keys_that_cannot_be_seen_are_written_once(ada: User, replaced: bool) -> None:
    """Identity's 200 is the word on them; of roles, its answer is, and of keys that it shows."""
    aside = (SetAside("app_metadata", "", keeps_keys=replaced),)
    there = replace(held("member", "staff"), set_aside=aside)
    user = noted(replace(ada, extra_app_metadata={"plan": "gold"}), pending=True)
    prepared = prepare(user, there, LATER)
    assert prepared.patch == {"plan": "gold"}
    told, done = conclude(prepared.user, prepared, there, LATER)
    assert (done, told.at_identity.pending) == (not replaced, replaced)


def test_a_push_that_nothing_disturbs(ada: User) -> None:
    """Looked at, noted, written, its echo without effect, concluded."""
    user = noted(revoke(grant(ada, "editor"), "staff"), pending=True)
    prepared = prepare(user, held("member", "staff"), LATER)
    assert prepared.patch == {"roles": ["editor", "member"]}
    assert prepared.user.at_identity.pushing == {"editor", "member"}
    assert set(prepared.user.at_identity.sent) == {"editor"}
    assert set(prepared.user.at_identity.withdrawn) == {"staff"}
    echoed = told(prepared.user, "editor", "member", at=301)
    assert echoed.grants == user.grants
    assert echoed.at_identity.seen == {"editor", "member"}
    assert echoed.at_identity.pending
    for before in (prepared.user, echoed):
        concluded, done = conclude(before, prepared, held("editor", "member"), LATER)
        assert done
        there = concluded.at_identity
        assert (there.pending, there.pushing) == (False, None)
        assert (there.seen, there.sent, there.withdrawn) == ({"editor", "member"}, {}, {})
        assert concluded.grants == user.grants


def test_nothing_is_written_where_identity_has_it_all(ada: User) -> None:
    """The look alone settles it."""
    user = noted(grant(ada, "editor"), pending=True)
    prepared = prepare(user, held("editor", "member", "staff"), LATER)
    there = prepared.user.at_identity
    assert (prepared.patch, there.pending, prepared.unsettled) == ({}, False, False)


@pytest.mark.parametrize("echo", [True, False], ids=["echo", "echo lost"])
def test_a_role_given_there_between_look_and_write_is_written_again(ada: User, echo: bool) -> None:
    """What our writing undid was undone by us, and by nobody there."""
    user = noted(grant(ada, "editor"), pending=True)
    prepared = prepare(user, held("member", "staff"), LATER)
    meanwhile = told(prepared.user, "auditor", "member", "staff", at=301)
    ours = ("editor", "member", "staff")
    now = told(meanwhile, *ours, at=302) if echo else meanwhile
    concluded, done = conclude(now, prepared, held(*ours), LATER)
    assert not done
    assert concluded.at_identity.pending
    again = prepare(concluded, held(*ours), LATER)
    assert again.patch == {"roles": ["auditor", "editor", "member", "staff"]}


@pytest.mark.parametrize("echo", [True, False], ids=["echo", "echo lost"])
def test_a_role_taken_away_there_between_look_and_write_is_taken_again(
    ada: User, echo: bool
) -> None:
    """The other way round."""
    user = noted(grant(ada, "editor"), pending=True)
    prepared = prepare(user, held("member", "staff"), LATER)
    meanwhile = told(prepared.user, "member", at=301)
    ours = ("editor", "member", "staff")
    now = told(meanwhile, *ours, at=302) if echo else meanwhile
    concluded, done = conclude(now, prepared, held(*ours), LATER)
    assert not done
    assert prepare(concluded, held(*ours), LATER).patch == {"roles": ["editor", "member"]}


def test_what_our_write_undid_is_not_undone_again_by_the_next_change_there(ada: User) -> None:
    """Given there after our look, our echo lost, then another change there: both are kept."""
    prepared = prepare(noted(grant(ada, "editor"), pending=True), held("member", "staff"), LATER)
    given = told(prepared.user, "auditor", "member", "staff", at=301)
    both = grant(given, "auditor")
    for user in (given, both):
        now = told(user, "author", "editor", "member", "staff", at=303)
        assert wanted_roles(now, LATER) == {"auditor", "author", "editor", "member", "staff"}


def test_a_write_that_was_given_up_explains_nothing_any_more(ada: User) -> None:
    """Two minutes later a role that is gone there was taken away by somebody."""
    prepared = prepare(noted(grant(ada, "editor"), pending=True), held("member", "staff"), LATER)
    given = told(prepared.user, "auditor", "member", "staff", at=301)
    for seconds, kept in ((WRITE_SECONDS - 1, True), (WRITE_SECONDS, False)):
        then = LATER + timedelta(seconds=seconds)
        gone = event("usermodified", 400, roles=["member", "staff"], confirmed_at=NOON)
        user = decide(gone, given, POLICY, then).user
        assert user is not None
        assert ("auditor" in wanted_roles(user, then)) is kept


def test_a_change_here_between_look_and_answer_is_not_done_yet(ada: User) -> None:
    """The same push goes on with it."""
    prepared = prepare(noted(grant(ada, "editor"), pending=True), held("member"), LATER)
    changed = grant(prepared.user, "author")
    concluded, done = conclude(changed, prepared, held("editor", "member"), LATER)
    assert not done
    assert concluded.at_identity.pending


def test_an_answer_that_a_removal_there_overtook_is_not_believed(ada: User) -> None:
    """A grant made here after that removal is not taken for removed there by the next look."""
    prepared = prepare(noted(grant(ada, "editor"), pending=True), held("member", "staff"), LATER)
    echoed = told(prepared.user, "editor", "member", "staff", at=301)
    removed = told(echoed, "member", "staff", at=302)
    concluded, done = conclude(removed, prepared, held("editor", "member", "staff"), LATER)
    there = concluded.at_identity
    assert (done, there.pending, there.seen) == (False, True, {"member", "staff"})
    again = prepare(grant(concluded, "editor"), held("member", "staff", at=303), LATER)
    assert again.patch == {"roles": ["editor", "member", "staff"]}


def test_an_event_answered_meanwhile_may_undo_what_was_written(ada: User) -> None:
    """Revoked before the echo was answered and granted after it: the role is gone there."""
    prepared = prepare(noted(grant(ada, "editor"), pending=True), held("member", "staff"), LATER)
    ours = ("editor", "member", "staff")
    echoed = told(revoke(prepared.user, "editor"), *ours, at=301)
    assert set(echoed.at_identity.withdrawn) == {"editor"}
    concluded, done = conclude(grant(echoed, "editor"), prepared, held(*ours), LATER)
    assert (done, concluded.at_identity.pending) == (False, True)
    again = prepare(concluded, held("member", "staff"), LATER)
    assert again.patch == {"roles": ["editor", "member", "staff"]}


@pytest.mark.parametrize(
    ("echo", "late", "roles"),
    [
        (302, 300, {"editor", "member", "staff"}),
        (302, 301, {"editor", "member", "staff"}),
        (None, 301, {"member", "staff"}),
        (302, 303, {"member", "staff"}),
    ],
    ids=["older", "a second older", "older, our echo lost", "newer"],
)
def test_a_late_event_that_shows_the_roles_before_our_write(
    ada: User, echo: int | None, late: int, roles: set[str]
) -> None:
    """It takes nothing away where it is known to be older than our echo; the grant stays anyhow."""
    prepared = prepare(noted(grant(ada, "editor"), pending=True), held("member", "staff"), LATER)
    ours = ("editor", "member", "staff")
    user = told(prepared.user, *ours, at=echo) if echo else prepared.user
    user, done = conclude(user, prepared, held(*ours), LATER)
    assert done
    user = told(user, "member", "staff", at=late)
    assert wanted_roles(user, LATER) == roles
    assert [g for g in user.grants if g.source is Source.ADMINISTRATOR]


def test_an_answer_to_an_event_that_may_be_on_its_way_is_waited_for() -> None:
    """It would replace the whole map at Identity; so the push is not settled by its answer."""
    waiting = after([event("signup", 300)], now=LATER)
    assert waiting is not None
    user = noted(grant(waiting, "editor"), pending=True)
    assert user.at_identity.sent
    soon = LATER + timedelta(seconds=IN_FLIGHT_SECONDS - 1)
    prepared = prepare(user, held(at=301), soon)
    assert prepared.unsettled
    answer = held(*prepared.patch["roles"], at=302)
    concluded, done = conclude(prepared.user, prepared, answer, soon)
    assert done
    assert concluded.at_identity.pending
    looked = prepare(concluded, answer, soon + timedelta(seconds=IN_FLIGHT_SECONDS))
    assert (looked.patch, looked.user.at_identity.pending) == ({}, False)


def test_a_login_settles_and_an_older_one_does_not(ada: User) -> None:
    """Its answer carries all; that of an event before the last one carries nothing new."""
    user = noted(grant(ada, "editor"), pending=True, pushing=frozenset({"x"}))
    late = after([event("login", -60, roles=["member", "staff"])], user, now=LATER)
    assert late is not None
    assert late.at_identity.pending
    settled = after([event("login", 300, roles=["member", "staff"])], user, now=LATER)
    assert settled is not None
    assert (settled.at_identity.pending, settled.at_identity.pushing) == (False, None)
    changed = after([event("usermodified", 300, roles=["member", "staff"])], user, now=LATER)
    assert changed is not None
    assert changed.at_identity.pending


def test_a_login_settles_no_further_keys(ada: User) -> None:
    """It may show what was read before a push wrote them, so that its answer tells nothing."""
    user = noted(edit_app_metadata(ada, {"plan": None}), pending=True)
    late = after([event("login", 300, roles=["member", "staff"])], user, now=LATER)
    assert late is not None
    assert late.at_identity.pending


def test_an_answer_that_may_land_over_a_further_key_is_waited_for(ada: User) -> None:
    """It replaces the whole map, whatever its roles."""
    user = edit_app_metadata(ada, {"plan": "silver"})
    given = outcome(event("login", 300, roles=["member", "staff"]), user, now=LATER)
    assert given.reply.status == 200
    user = edit_app_metadata(given.user or ada, {"plan": "gold"})
    soon = LATER + timedelta(seconds=IN_FLIGHT_SECONDS - 1)
    there = held("member", "staff", at=302)
    assert prepare(user, there, soon).unsettled
    later = LATER + timedelta(seconds=IN_FLIGHT_SECONDS)
    assert not prepare(user, there, later).unsettled
