"""What Identity holds as roles: read as far as it can be, and never erased where it cannot."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.decide_support import NOON, POLICY, after, event, message, moment, outcome
from tests.profiles import examples
from usher.core.bounds import MAX_MAP_BYTES, MAX_ROLES_BYTES
from usher.core.domain.administration import grant_role, suspend_user
from usher.core.domain.at_identity import AtIdentity
from usher.core.domain.decide import decide, welcome
from usher.core.domain.events import EventName, IdentityUser
from usher.core.domain.held_roles import ABSENT, HeldRoles, read_roles
from usher.core.domain.outage import answer_without_record
from usher.core.domain.push import conclude, patch_for, prepare
from usher.core.domain.records import Outcome, User
from usher.core.domain.roles import effective
from usher.core.domain.sync import Kind, adopt, compare
from usher.core.opaque import read_envelope
from usher.core.strict_json import dumps, equal

RULE = "identity.roles_unreadable"
LATER = moment(300)
LONG = "x" * 300
ODD: list[Any] = ["editor", 7, "", {"x": 1}, "  ", LONG]


def names(*roles: str) -> HeldRoles:
    """A plain list of names."""
    return HeldRoles(frozenset(roles))


READ: dict[str, tuple[object, HeldRoles]] = {
    "null": (None, HeldRoles(plain=False)),
    "an empty list": ([], HeldRoles()),
    "names": (["b", "a"], names("a", "b")),
    "a name": ("a", replace(names("a"), plain=False)),
    "a padded name": (" a\t", replace(names("a"), plain=False)),
    "an empty text": ("", HeldRoles(kept=("",))),
    "a blank text": (" ", HeldRoles(kept=(" ",))),
    "a text too long": (LONG, HeldRoles(kept=(LONG,))),
    "padded names": ([" a", "b "], replace(names("a", "b"), plain=False)),
    "a name twice": (["a", "a"], replace(names("a"), plain=False)),
    "a name twice, once padded": (["a", "a "], replace(names("a"), plain=False)),
    "the longest name": ([" " + "a" * 100], replace(names("a" * 100), plain=False)),
    "one character more": (["a" * 101], HeldRoles(kept=("a" * 101,))),
    "a name and a number": (["a", 7], HeldRoles(frozenset("a"), (7,))),
    "a padded name and a number": ([7, " a"], HeldRoles(frozenset("a"), (7,), plain=False)),
    "no names": ([1, 1.5, None, True, [], {}], HeldRoles(kept=(1, 1.5, None, True, [], {}))),
    "a list of a list": ([["a"]], HeldRoles(kept=(["a"],))),
    "a number": (7, HeldRoles(foreign="a number, not a list", plain=False)),
    "another number": (0.5, HeldRoles(foreign="a number, not a list", plain=False)),
    "a boolean": (False, HeldRoles(foreign="a boolean, not a list", plain=False)),
    "an object": ({}, HeldRoles(foreign="an object, not a list", plain=False)),
}


@pytest.mark.parametrize(("value", "read"), READ.values(), ids=READ.keys())
def test_c1_roles_are_read_as_far_as_they_can_be(value: object, read: HeldRoles) -> None:
    """A text alone is a list of one; spaces around a name are not part of it."""
    found = read_roles(value)
    assert found == read
    assert equal(found.kept, read.kept)


SHOWN: list[tuple[object, set[str], bool]] = [
    ([], set(), True),
    (["b", "a"], {"a", "b"}, True),
    (["a"], {"a", "b"}, False),
    ([7, "a"], {"a"}, True),
    (["a", "a"], {"a"}, False),
    ([" a"], {"a"}, False),
    ("a", {"a"}, False),
    (None, set(), False),
    ("", set(), True),
]


@pytest.mark.parametrize(("value", "roles", "shown"), SHOWN)
def test_c1_a_list_in_another_form_is_told_anew(
    value: object, roles: set[str], shown: bool
) -> None:
    """Its order means nothing, and neither does what is no name."""
    assert read_roles(value).shows(roles) is shown
    assert ABSENT.shows(set())


SAID = {
    "roles has elements that are no role names; they stay (5: a number, a text of over 100 "
    "characters, an empty text, an object)": ODD,
    "roles has elements that are no role names; they stay (4: a boolean, a list, "
    "a text that cannot be printed, null)": [None, True, ["a"], "a\tb"],
    "roles is a number, not a list: neither read nor written over": 7,
    "": [" a", "a"],
}


@pytest.mark.parametrize(
    "roles",
    [b'"a\\ud800"', b"1e400", b'["%s"]' % (b"a" * MAX_ROLES_BYTES), b"[" * 40 + b"]" * 40],
    ids=["half a pair", "a number too large", "too long", "too deep"],
)
def test_c1_what_cannot_be_taken_as_it_is_gets_words_of_its_own(roles: bytes) -> None:
    """Nobody looks for an object at Identity where there is none."""
    body = b'{"event":"login","app_metadata":{"roles":%s}}' % roles
    document, _ = read_envelope(body)
    said = "roles is too large, too deep or not to be stored: neither read nor written over"
    assert read_roles(document["app_metadata"]["roles"]).unreadable == said
    assert (
        read_roles({}).unreadable == "roles is an object, not a list: neither read nor written over"
    )


@pytest.mark.parametrize("said", SAID)
def test_c1_what_cannot_be_read_is_said_without_its_content(said: str) -> None:
    """Reasons outlive the erasure of a person."""
    assert read_roles(SAID[said]).unreadable == said


def login(roles: object, at: int = 0, name: str = "login", **fields: Any) -> Any:
    """An event that shows this value of roles."""
    metadata = {"provider": "email", "roles": roles}
    return event(name, at, app_metadata=metadata, confirmed_at=NOON, **fields)


ANSWERED: dict[str, tuple[object, list[Any] | None]] = {
    "a lone name": ("editor", ["editor", "member", "staff"]),
    "a padded name": (" editor\n", ["editor", "member", "staff"]),
    "a padded name in a list": (["editor "], ["editor", "member", "staff"]),
    "an empty text": ("", ["member", "staff", ""]),
    "a text too long": (LONG, ["member", "staff", LONG]),
    "odd elements": (ODD, ["editor", "member", "staff", 7, "", {"x": 1}, "  ", LONG]),
    "all is there": ([7, "staff", "member"], None),
    "a number": (7, None),
    "an object": ({"x": 1}, None),
    "a boolean": (True, None),
}


@pytest.mark.parametrize("name", ["login", "signup", "usermodified"])
@pytest.mark.parametrize("case", ANSWERED)
def test_c1_nothing_that_cannot_be_read_is_erased_by_an_answer(case: str, name: str) -> None:
    """It stays in the list, or there is no answer; the ledger says so."""
    held, told = ANSWERED[case]
    found = outcome(login(held, name=name))
    document = found.reply.app_metadata
    assert equal(document, told and {"provider": "email", "roles": told})
    assert found.reply.status == (200 if told else 204)
    unreadable = read_roles(held).unreadable
    assert [reason.text for reason in found.reasons if reason.rule == RULE] == (
        [unreadable] if unreadable else []
    )
    assert found.user is not None
    assert found.user.at_identity.unreadable == unreadable
    assert {"member", "staff"} <= effective(found.user.grants, NOON)


def test_c1_a_refusal_names_it_too() -> None:
    """And the events that look at no roles."""
    refused = outcome(login(7, name="validate", email="x@bad.example"))
    assert (refused.outcome, message(refused.reply) != "") == (Outcome.DENIED, True)
    assert [reason.rule for reason in refused.reasons][-1] == RULE


def test_c1_another_form_of_the_same_roles_is_nobodys_change() -> None:
    """Whatever spells them: a text, a list, padded or not."""
    user = after([login(["editor", "member", "staff"])])
    for at, held in enumerate([" editor ", ["editor"], [" editor", 7], ["editor", "editor"]], 1):
        shown = [*held, "member ", " staff"] if isinstance(held, list) else held
        found = decide(login(shown, at * 100), user, POLICY, NOON)
        rules = {reason.rule for reason in found.reasons}
        assert "identity.added" not in rules
        user = found.user
        if isinstance(held, list):
            assert not rules & {"identity.added", "identity.removed"}
            assert user is not None
            assert user.at_identity.seen == {"editor", "member", "staff"}


def test_c1_a_value_that_cannot_be_read_takes_nothing_away() -> None:
    """The next list is compared with the last that could be read."""
    user = after([login(["editor", "member", "staff"])])
    found = decide(login({"editor": True}, 100), user, POLICY, LATER)
    assert found.user is not None
    assert effective(found.user.grants, LATER) == {"editor", "member", "staff"}
    assert found.user.at_identity.seen == {"editor", "member", "staff"}
    assert found.user.at_identity.pending  # the roles are not told
    again = decide(login(["member"], 200), found.user, POLICY, LATER)
    assert again.user is not None
    assert effective(again.user.grants, LATER) == {"member"}
    assert again.user.at_identity.unreadable == ""


def test_c1_a_login_settles_no_push_where_nothing_was_told() -> None:
    """A role that was taken away here is still at Identity, whatever reads it there."""
    user = after([login(["editor", "member", "staff"])])
    assert user is not None
    user = replace(user, at_identity=user.at_identity.marked_pending())
    nobody = replace(POLICY, roles=())
    found = decide(login(7, 100), user, nobody, LATER)
    assert found.user is not None
    assert found.user.at_identity.pending


def test_c1_without_anything_to_tell_no_push_is_asked_for() -> None:
    """A person without roles, and a policy that adds nothing."""
    nobody = replace(POLICY, roles=())
    user = after([login(7)], policy=nobody)
    assert user is not None
    assert not user.at_identity.pending
    adding = replace(nobody, app_metadata={"plan": "free"})
    user = after([login(7)], policy=adding)
    assert user is not None
    assert user.at_identity.pending


def test_c1_an_answer_keeps_within_what_is_read_again() -> None:
    """Over 64 KiB it is left to a push."""
    held = ["y" * 1_000] * 65
    room = MAX_MAP_BYTES - len(dumps({"provider": "email", "roles": [*held, ""]}))
    found = outcome(login([*held, "z" * (room - 10)]))
    assert found.reply.status == 204
    rules = {reason.rule for reason in found.reasons}
    assert {RULE, "answer.too_large"} <= rules
    assert "metadata.unreadable" not in rules
    assert found.user is not None
    assert found.user.at_identity.pending


def test_c1_an_answer_given_while_the_database_was_away_is_remembered_by_its_names() -> None:
    """Its list may hold elements that are none."""
    signup = login(ODD, name="signup")
    given = answer_without_record(signup, POLICY, NOON)
    found = decide(signup, None, POLICY, NOON, given)
    assert found.user is not None
    assert found.user.at_identity.sent.keys() == {"member", "staff"}


def test_c1_the_first_sight_of_a_caller_knows_it_too() -> None:
    """Where Identity itself was asked about the token."""
    for held, noted in ((7, True), (ODD, True), ([], False)):
        user = welcome(login([]).instance_id, login(held).user, None, POLICY, NOON)
        assert bool(user.at_identity.unreadable) is noted
        assert effective(user.grants, NOON) >= {"member"}


def test_c1_the_note_is_kept_with_the_record() -> None:
    """And a record without one is what it was."""
    noted = AtIdentity(frozenset({"a"}), unreadable="roles is a number")
    assert AtIdentity.read(noted.document()) == noted
    assert "unreadable" not in AtIdentity().document()


# --- pushes --------------------------------------------------------------------------------------


def told(user: User | None, account: IdentityUser) -> dict[str, Any]:
    """What a push writes."""
    assert user is not None
    return dict(prepare(user, account, LATER).patch)


@pytest.fixture
def ada() -> User:
    """She has the policy's roles, and an administrator's."""
    user = after([login(["member", "staff"])])
    assert user is not None
    return grant_role(user, "editor", actor="cli:ada", now=LATER)


PUSHED: dict[str, tuple[object, dict[str, Any]]] = {
    "odd elements": (
        [7, "member", "staff", {"x": 1}, ""],
        {"roles": ["editor", "member", "staff", 7, {"x": 1}, ""]},
    ),
    "all is there": ([7, "editor", "member", "staff"], {}),
    "padded": (["editor ", "member", "staff"], {"roles": ["editor", "member", "staff"]}),
    "a number": (7, {}),
    "an object": ({"member": True}, {}),
}


@pytest.mark.parametrize("case", PUSHED)
def test_c1_a_push_erases_nothing_that_cannot_be_read(ada: User, case: str) -> None:
    """The elements are those of the account as it is at that time."""
    held, patch = PUSHED[case]
    assert equal(told(ada, login(held).user), patch)


def test_c1_a_push_tells_keys_where_it_cannot_tell_roles(ada: User) -> None:
    """And stays pending, with the reason."""
    ada = replace(ada, extra_app_metadata={"plan": "gold"})
    prepared = prepare(ada, login(7).user, LATER)
    assert prepared.patch == {"plan": "gold"}
    assert prepared.refused == "roles is a number, not a list: neither read nor written over"
    assert not prepared.user.at_identity.sent.keys() - ada.at_identity.sent.keys()
    answer = event("usermodified", app_metadata={"plan": "gold", "roles": 7}).user
    concluded, done = conclude(prepared.user, prepared, answer, LATER)
    assert (done, concluded.at_identity.pending) == (True, True)
    assert prepare(concluded, answer, LATER).patch == {}
    assert prepare(concluded, answer, LATER).user.at_identity.pending
    mended = prepare(concluded, login(["member", "staff"]).user, LATER)
    assert mended.patch == {"plan": "gold", "roles": ["editor", "member", "staff"]}
    assert mended.refused == ""


# the policy's roles?, the roles seen before, suspended? -> whether something is untold
UNTOLD = [
    (True, None, False, True),
    (True, ["member", "staff"], False, True),
    (False, ["editor"], True, True),
    (False, [], False, False),
    (True, [], True, True),
]


@pytest.mark.parametrize(("policy", "before", "suspended", "untold"), UNTOLD)
def test_c1_a_push_is_settled_where_roles_have_nothing_to_tell(
    policy: bool, before: list[str] | None, suspended: bool, untold: bool
) -> None:
    """A role that Identity had, or shall have, is something."""
    rules = POLICY if policy else replace(POLICY, roles=())
    user = after([login(7 if before is None else before)], policy=rules)
    assert user is not None
    if suspended:
        user = suspend_user(user, now=LATER)
    prepared = prepare(user, login(7).user, moment(7200))
    assert bool(prepared.refused) is untold
    assert prepared.user.at_identity.pending is untold


def test_c1_a_sync_takes_over_what_it_can_read(ada: User) -> None:
    """And sees no difference in what it cannot."""
    odd = login([7, "editor", "member", "staff"]).user
    assert Kind.ROLES_HERE not in compare(odd, ada, LATER)
    number = login(7).user
    kinds = compare(number, ada, LATER)
    assert not {Kind.ROLES_HERE, Kind.ROLES_THERE} & set(kinds)
    adopted = adopt(ada.instance_id, number, ada, POLICY, LATER)
    assert adopted.grants == ada.grants
    assert adopted.at_identity.unreadable == number.held_roles.unreadable


# --- any value -----------------------------------------------------------------------------------

NAMES = st.sampled_from(["editor", "member", "staff", " editor", "member ", "größe"])
TEXTS = st.one_of(NAMES, st.sampled_from(["", " ", LONG, "a\tb", "a" * 100]), st.text(max_size=4))
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(-1, 1), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=8,
).filter(lambda value: "\x00" not in repr(value) and "\\x00" not in repr(value))
ROLES = st.one_of(VALUES, st.lists(st.one_of(NAMES, VALUES), max_size=6))


def name_of(value: object) -> str | None:
    """The role that an element names, as the documentation says it."""
    text = value.strip() if isinstance(value, str) else ""
    return text if text.isprintable() and 0 < len(text) <= 100 else None


def lost(held: object, written: object) -> list[object]:
    """The elements that are no role names and are not in what is written in their place."""
    elements = held if isinstance(held, list) else [] if held is None else [held]
    there = list(written) if isinstance(written, list) else [written]
    missing = []
    for each in elements:
        if isinstance(held, list | str) and name_of(each) is not None:
            continue
        found = next((at for at, one in enumerate(there) if equal(one, each)), None)
        if found is None:
            missing.append(each)
        else:
            del there[found]
    return missing


@settings(max_examples=examples(300))
@given(ROLES, st.sampled_from(["login", "signup", "usermodified"]), st.booleans())
@example(ODD, "login", True)
def test_c1_nothing_is_erased_whatever_identity_holds(held: Any, name: str, known: bool) -> None:
    """By the answer to an event, by a push after it, or by the answers that follow."""
    user = after([login(["editor", "member"], -100)]) if known else None
    found = decide(login(held, name=name), user, POLICY, NOON)
    answered = found.reply.app_metadata
    assert found.user is not None
    if answered is not None:
        assert lost(held, answered["roles"]) == []
        assert read_roles(answered["roles"]).names == effective(found.user.grants, NOON)
        again = decide(login(answered["roles"], 60), found.user, POLICY, LATER)
        assert again.reply.status == 204
        assert again.user is not None
        assert effective(again.user.grants, LATER) == effective(found.user.grants, NOON)
    patch = patch_for(found.user, login(held).user, LATER)
    assert lost(held, patch.get("roles", held)) == []
    assert (read_roles(held).unreadable != "") is bool(lost(held, []))


@settings(max_examples=examples(300))
@given(st.lists(st.one_of(NAMES, VALUES), max_size=6), st.booleans())
def test_c1_names_that_can_be_read_count_as_they_would_alone(held: list[Any], known: bool) -> None:
    """What stands beside them changes nothing of the record."""
    alone = sorted({name for each in held if (name := name_of(each)) is not None})
    user = after([login(["editor", "member"], -100)]) if known else None
    mixed = decide(login(held, name=EventName.LOGIN.value), user, POLICY, NOON).user
    plain = decide(login(alone, name=EventName.LOGIN.value), user, POLICY, NOON).user
    assert mixed is not None
    assert plain is not None
    assert mixed.grants == plain.grants
    assert mixed.at_identity.seen == plain.at_identity.seen
