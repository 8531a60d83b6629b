"""An account compared with its record, and its word taken over: tables, then properties."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.conftest import POLICY
from tests.domain.decide_support import noted
from tests.support import NOON, account
from usher.core.domain.at_identity import UNKNOWN
from usher.core.domain.decide import tombstone
from usher.core.domain.events import IdentityUser, read_user
from usher.core.domain.handler_writes import apply_write
from usher.core.domain.outbox import Write
from usher.core.domain.push import conclude, prepare
from usher.core.domain.records import Grant, Source, User
from usher.core.domain.sync import PULLED, PUSHED, Kind, Mending, adopt, compare
from usher.core.domain.sync_plan import Plan, Trouble, Unreadable
from usher.core.opaque import SetAside
from usher.core.policy_file import parse_policy
from usher.emulator.payload import ZERO_INSTANCE, go_json, user_document

SOMEBODY = UUID(int=7)
RULES = parse_policy(POLICY)
LATER = NOON + timedelta(hours=2)


def person(**fields: Any) -> IdentityUser:
    """An account as the admin API shows it: confirmed, unless told otherwise."""
    usual: dict[str, Any] = {
        "confirmed_at": NOON,
        "roles": ["member"],
        "email": "ada@other.example",
    }
    made = account(user_id=SOMEBODY, at=NOON, **(usual | fields))
    return read_user(json.loads(go_json(user_document(made))))


def imported(**fields: Any) -> User:
    """The record of such an account, after Identity was told of its roles."""
    user = adopt(ZERO_INSTANCE, person(**fields), None, RULES, NOON)
    return noted(user, sent={}, withdrawn={})


SAME = imported()
EDITOR = Grant("editor", Source.ADMINISTRATOR, NOON)
CASES: list[tuple[str, IdentityUser, User | None, tuple[Kind, ...]]] = [
    ("same", person(), SAME, ()),
    ("unknown here", person(), None, (Kind.MISSING_HERE,)),
    ("deleted here", person(), tombstone(SAME, NOON), (Kind.DELETED_HERE,)),
    ("another address", person(email="new@other.example"), SAME, (Kind.EMAIL,)),
    ("another name", person(user_metadata={"full_name": "A"}), SAME, (Kind.METADATA,)),
    ("no metadata at all", person(user_metadata=None), replace(SAME, user_metadata={}), ()),
    ("confirmed there", person(), replace(SAME, confirmed_at=None), (Kind.STATUS,)),
    ("given there", person(roles=["member", "vip"]), SAME, (Kind.ROLES_THERE,)),
    ("taken there", person(roles=[]), SAME, (Kind.ROLES_THERE,)),
    ("given here", person(), replace(SAME, grants=(*SAME.grants, EDITOR)), (Kind.ROLES_HERE,)),
    ("suspended here", person(), replace(SAME, suspended_at=NOON), (Kind.SUSPENDED,)),
    (
        "suspended, told",
        person(roles=[]),
        replace(SAME, suspended_at=NOON, at_identity=UNKNOWN),
        (),
    ),
    ("a key here", person(), replace(SAME, extra_app_metadata={"plan": "pro"}), (Kind.KEYS,)),
    (
        "both sides changed",
        person(roles=["member", "vip"], email="new@other.example"),
        replace(SAME, grants=(EDITOR, *SAME.grants)),
        (Kind.EMAIL, Kind.ROLES_THERE, Kind.ROLES_HERE),
    ),
]


@pytest.mark.parametrize(
    ("there", "here", "kinds"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_each_difference_has_its_kind(
    there: IdentityUser, here: User | None, kinds: tuple[Kind, ...]
) -> None:
    """One kind for whatever one side has to learn of the other."""
    assert compare(there, here, LATER) == kinds


@pytest.mark.parametrize(
    ("there", "roles", "status"),
    [
        (person(), {"member"}, "active"),
        (person(confirmed_at=None, roles=[]), set(), "pending"),
        (person(email="a@example.com"), {"member", "staff"}, "active"),
        (person(email="a@example.com", proven=False), {"member"}, "active"),
        (person(email="a@example.com", provider="google"), {"member", "staff"}, "active"),
        (person(roles=["vip"]), {"member", "vip"}, "active"),
    ],
)
def test_an_import_gives_what_a_first_sight_gives(
    there: IdentityUser, roles: set[str], status: str
) -> None:
    """The policy's roles for confirmed accounts, proven addresses only; and Identity's own."""
    user = adopt(ZERO_INSTANCE, there, None, RULES, NOON)
    assert {grant.role for grant in user.grants} == roles
    assert (user.status, user.order) == (status, "")


def test_a_policy_role_that_a_person_lost_at_identity_is_not_given_back() -> None:
    """What was taken there stays taken, whatever else is pulled along with it."""
    there = person(roles=[], email="new@other.example")
    user = adopt(ZERO_INSTANCE, there, SAME, RULES, LATER)
    assert [(g.source, g.denies) for g in user.grants] == [
        (Source.IDENTITY, True),
        (Source.POLICY, False),
    ]


def test_a_tombstone_is_never_brought_back() -> None:
    """An id that was deleted here stays so."""
    gone = tombstone(SAME, NOON)
    assert adopt(ZERO_INSTANCE, person(), gone, RULES, LATER) is gone


roles = st.sets(st.sampled_from(["member", "staff", "vip", "editor"]))
people = st.builds(
    person,
    roles=roles.map(sorted),
    email=st.sampled_from(["a@example.com", "b@other.example"]),
    confirmed_at=st.sampled_from([NOON, None]),
    confirmation_sent_at=st.sampled_from([NOON, None]),
    provider=st.sampled_from(["email", "google"]),
    user_metadata=st.sampled_from([None, {}, {"full_name": "A"}]),
)
grants = st.builds(
    Grant, st.sampled_from(["vip", "editor"]), st.just(Source.ADMINISTRATOR), st.just(NOON),
    st.booleans(),
)  # fmt: skip


@st.composite
def records(draw: st.DrawFn) -> User:
    """Somebody imported once, whose record an administrator changed since."""
    user = adopt(ZERO_INSTANCE, draw(people), None, RULES, NOON)
    extra = {grant.role: grant for grant in draw(st.lists(grants, max_size=2))}
    merged = sorted((*user.grants, *extra.values()), key=lambda g: (g.role, g.source))
    return replace(
        user,
        grants=tuple(merged),
        suspended_at=draw(st.sampled_from([None, NOON])),
        extra_app_metadata=draw(st.sampled_from([{}, {"plan": "pro"}, {"plan": None}])),
    )


@given(people, st.none() | records())
def test_after_a_pull_nothing_is_to_be_pulled(there: IdentityUser, here: User | None) -> None:
    """And a second pull changes nothing at all."""
    user = adopt(ZERO_INSTANCE, there, here, RULES, LATER)
    assert PULLED.isdisjoint(compare(there, user, LATER))
    assert adopt(ZERO_INSTANCE, there, user, RULES, LATER) == user


@given(people, records())
def test_after_both_nothing_differs(there: IdentityUser, here: User) -> None:
    """What a push then writes is what was missing, and no administrator's grant is lost."""
    user = adopt(ZERO_INSTANCE, there, here, RULES, LATER)
    prepared = prepare(user, there, LATER)
    held: dict[str, Any] = {**(there.app_metadata or {}), **prepared.patch}
    answer = replace(there, app_metadata={k: v for k, v in held.items() if v is not None})
    told, done = conclude(prepared.user, prepared, answer, LATER)
    assert done
    told = adopt(ZERO_INSTANCE, answer, told, RULES, LATER)
    assert compare(answer, told, LATER) == ()
    ours = {g for g in here.grants if g.source is Source.ADMINISTRATOR}
    assert ours <= set(told.grants)


@given(people, records())
def test_a_comparison_tells_each_kind_once(there: IdentityUser, here: User) -> None:
    """Of an account and its record only what can be mended by a pull or a push."""
    kinds = compare(there, here, LATER)
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) <= PULLED | PUSHED


def test_what_a_push_is_writing_just_now_counts_as_nobodys_change() -> None:
    """A look in the middle of a push lays no denial over a role that was given here meanwhile."""
    author = Grant("author", Source.ADMINISTRATOR, NOON)
    user = noted(
        replace(SAME, grants=(author, *SAME.grants)),
        seen=frozenset({"author", "member"}),
        pushing=frozenset({"member"}),
        pushing_since=int(NOON.timestamp()),
    )
    shown = person(roles=["member"])  # what was written has arrived; its answer has not
    assert compare(shown, user, NOON) == (Kind.ROLES_HERE,)
    assert adopt(ZERO_INSTANCE, shown, user, RULES, NOON).grants == user.grants


SET_ASIDE = (SetAside("app_metadata", "over 65536 bytes, set aside"),)
REPLACED = (SetAside("app_metadata", "replaced", keeps_keys=True),)


@pytest.mark.parametrize(
    ("set_aside", "kinds"), [((), (Kind.KEYS,)), (REPLACED, (Kind.KEYS,)), (SET_ASIDE, ())]
)
def test_a4_keys_that_cannot_be_seen_are_no_difference(
    set_aside: tuple[SetAside, ...], kinds: tuple[Kind, ...]
) -> None:
    """Nobody can tell whether Identity has them; where values alone were replaced, one can."""
    user = replace(SAME, extra_app_metadata={"plan": "pro"})
    assert compare(replace(person(), set_aside=set_aside), user, NOON) == kinds


@pytest.mark.parametrize("plan", [Plan(), Plan(pull=True), Plan(push=True)])
@pytest.mark.parametrize("record", [None, SAME, tombstone(SAME, NOON)])
def test_c1_odd_roles_are_counted_whatever_is_mended(plan: Plan, record: User | None) -> None:
    """With the id and the reason; those of a tombstone concern nobody any more."""
    mending = Mending(plan, RULES if plan.pull else None, NOON)
    there = person()
    there = replace(there, app_metadata={**(there.app_metadata or {}), "roles": {"member": True}})
    mended = mending.mend(ZERO_INSTANCE, there, record, compare(there, record, NOON))
    if record is not None and record.deleted_at:
        assert (mending.odd, mending.found) == ([], {"deleted_here": 1})
        return
    assert mending.found["roles_unreadable"] == 1
    why = "roles is an object, not a list: neither read nor written over"
    assert mending.odd == [Unreadable(str(SOMEBODY), 0, Trouble.ROLES, why)]
    if record is not None:
        assert (mended or record).grants == record.grants


@pytest.mark.parametrize("push", [True, False])
def test_what_was_given_here_waits_for_a_push_where_one_was_asked_for(push: bool) -> None:
    """The record is noted as pending, and counted as mended."""
    here = replace(SAME, grants=(*SAME.grants, EDITOR))
    mending = Mending(Plan(push=push), None, NOON)
    mended = mending.mend(ZERO_INSTANCE, person(), here, (Kind.ROLES_HERE,))
    assert mending.found == {"roles_here": 1}
    if push:
        assert mended is not None
        assert mended.at_identity.pending
        assert (mending.mended, mending.told) == ({"roles_here": 1}, [mended])
    else:
        assert (mended, mending.mended, mending.told) == (None, {}, [])


def test_what_a_handler_wrote_is_told_there_and_not_taken_away_here() -> None:
    """Until Identity has been told of it; from then on the account shows what the person made."""
    write = Write(user_metadata={"crm": 7})
    user = apply_write(SAME, write, "handler:site.billing", NOON)
    assert compare(person(), user, NOON) == (Kind.KEYS,)
    kept = adopt(ZERO_INSTANCE, person(), user, RULES, NOON)
    assert kept.user_metadata["crm"] == 7
    assert user.written is not None
    told = replace(user, written=user.written.told({"crm": 7}, NOON))
    assert compare(person(), told, NOON) == ()
    later = NOON + timedelta(minutes=1)
    assert compare(person(), told, later) == (Kind.METADATA,)
    assert "crm" not in adopt(ZERO_INSTANCE, person(), told, RULES, later).user_metadata
