"""E1 and E2 as tables: answers that land late explain what Identity shows; pushes echo."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import NOON, T0, after, event, moment
from usher.core.domain.administration import grant_role, revoke_role
from usher.core.domain.at_identity import AtIdentity
from usher.core.domain.decide import decide
from usher.core.domain.in_flight import InFlight
from usher.core.domain.push import conclude, may_be_overwritten, must_be_told, prepare
from usher.core.domain.records import Decision, Outcome, User
from usher.core.domain.roles import effective
from usher.core.domain.rules import FilePolicy

NOTHING = FilePolicy()
ALL = ["a", "b", "c", "d", "e"]


def receive(user: User | None, name: str, at: int, roles: list[str]) -> Decision:
    """One event, received as it was signed."""
    return decide(event(name, at, roles=roles, confirmed_at=NOON), user, NOTHING, moment(at))


def known(roles: list[str]) -> User:
    """Somebody whose roles were given at Identity, an hour ago."""
    found = after([event("login", -3600, roles=roles)], policy=NOTHING, now=moment(-3600))
    assert found is not None
    return found


def change(found: Decision) -> User:
    """The record after a decision."""
    assert found.user is not None
    return found.user


def push(user: User, at: int, there: list[str]) -> tuple[User, list[str]]:
    """A push to an account with these roles, and what it has then."""
    prepared = prepare(user, event("login", roles=there).user, moment(at))
    written: list[str] = prepared.patch["roles"]
    user = change(receive(prepared.user, "usermodified", at, written))
    return conclude(user, prepared, event("login", roles=written).user, moment(at))[0], written


@pytest.mark.parametrize("pushed", [True, False])
def test_e1_a_role_that_a_late_answer_brings_back_is_no_grant(pushed: bool) -> None:
    """Revoked here or at Identity: the answer of a login that began before lands over it."""
    user = revoke_role(known(ALL), "a", actor="cli", now=moment(0))
    found = receive(user, "login", 1, ALL)
    assert found.reply.app_metadata == {"provider": "email", "roles": ALL[1:]}
    user = change(found)
    if pushed:
        user = revoke_role(user, "b", actor="cli", now=moment(2))
        prepared = prepare(user, event("login", roles=ALL).user, moment(2))
        user = change(receive(prepared.user, "usermodified", 2, ALL[2:]))
        user, done = conclude(user, prepared, event("login", roles=ALL[2:]).user, moment(2))
        assert done
        assert prepared.unsettled
    else:
        user = change(receive(user, "usermodified", 2, ALL[2:]))
    assert may_be_overwritten(user, moment(2))
    assert must_be_told(user, user, moment(2))
    found = receive(user, "login", 3, ALL[1:])  # the answer to the first login has landed
    assert effective(change(found).grants, NOON) == set(ALL[2:])
    assert found.reply.app_metadata == {"provider": "email", "roles": ALL[2:]}
    later = prepare(change(found), event("login", roles=ALL[1:]).user, moment(40))
    assert later.patch == {"roles": ALL[2:]}
    assert effective(later.user.grants, NOON) == set(ALL[2:])
    assert not may_be_overwritten(later.user, moment(40))


def test_e1_a_grant_at_identity_that_a_late_answer_overwrites_stays() -> None:
    """Both administrators' changes are there: the role taken here, and the one given there."""
    user = revoke_role(known(["a", "b"]), "a", actor="cli", now=moment(0))
    user = change(receive(user, "login", 1, ["a", "b"]))
    user = change(receive(user, "usermodified", 2, ["a", "b", "x"]))
    found = receive(user, "login", 3, ["b"])
    assert effective(change(found).grants, NOON) == {"b", "x"}
    assert found.reply.app_metadata == {"provider": "email", "roles": ["b", "x"]}


@pytest.mark.parametrize(("roles", "left"), [(["b"], {"b"}), (["b", "x"], {"b"})])
def test_e1_a_role_taken_at_identity_stays_so_whatever_a_late_answer_says(
    roles: list[str], left: set[str]
) -> None:
    """An answer explains a loss only where the payload shows all that it changed."""
    user = change(receive(known(["b", "x"]), "usermodified", 0, ["b"]))
    user = revoke_role(user, "z", actor="cli", now=moment(0))
    user = change(receive(user, "login", 0, ["b", "x"]))  # older: read before, answered with b
    found = receive(user, "login", 2, roles)
    assert effective(change(found).grants, NOON) == left


@pytest.mark.parametrize(("at", "given"), [(19, False), (20, True)])
def test_e1_a_login_may_show_what_was_read_before_a_change(at: int, given: bool) -> None:
    """Within twenty seconds it is no grant; afterwards it was given again."""
    user = change(receive(known(["a", "b"]), "usermodified", 0, ["b"]))
    found = receive(user, "login", at, ["a", "b"])
    assert ("a" in effective(change(found).grants, NOON)) is given
    given_again = receive(user, "usermodified", 1, ["a", "b"])
    assert "a" in effective(change(given_again).grants, NOON)


def test_e1_a_login_may_show_what_an_answer_made_of_the_roles() -> None:
    """No event has shown it: the answer's state was there between two changes at Identity."""
    user = grant_role(known(["a", "b"]), "x", actor="cli", now=moment(0))
    found = receive(user, "usermodified", 1, ["b"])  # a is taken away there
    assert found.reply.app_metadata == {"provider": "email", "roles": ["b", "x"]}
    user = change(receive(change(found), "usermodified", 2, ["a", "b", "x"]))  # and given again
    found = receive(user, "login", 3, ["b", "x"])  # read in between
    assert effective(change(found).grants, NOON) == {"a", "b", "x"}


def test_e1_a_login_that_shows_an_earlier_state_does_not_prove_that_an_answer_landed() -> None:
    """It landed later, over a role granted here, and nobody at Identity took that one away."""
    user = grant_role(known(["b", "c"]), "a", actor="cli", now=moment(0))
    user, _ = push(user, 0, ["b", "c"])
    user = change(receive(user, "login", 1, ["b", "c"]))  # answered with a, which never lands
    user, _ = push(revoke_role(user, "a", actor="cli", now=moment(2)), 2, ["a", "b", "c"])
    found = receive(user, "login", 3, ["a", "b", "c"])  # read before the push
    assert found.reply.app_metadata == {"provider": "email", "roles": ["b", "c"]}
    user = revoke_role(change(found), "b", actor="cli", now=moment(4))
    user, held = push(grant_role(user, "a", actor="cli", now=moment(4)), 4, ["b", "c"])
    assert held == ["a", "c"]
    found = receive(user, "login", 40, ["b", "c"])  # the answer of second 3 has landed
    assert effective(change(found).grants, NOON) == {"a", "c"}
    assert found.reply.app_metadata == {"provider": "email", "roles": ["a", "c"]}


def test_e1_a_login_that_may_have_been_read_before_a_change_leaves_the_notes_as_they_are() -> None:
    """An answer explains it as well, and is remembered on."""
    answer = InFlight(T0, T0, frozenset("a"), frozenset("ab"))
    earlier = InFlight(T0 + 1, T0 + 1, frozenset("ab"))
    noted = AtIdentity(frozenset("a"), in_flight=(answer, earlier))
    found = noted.observe(frozenset("ab"), moment(2), signed_at=T0 + 2, read_early=True)
    assert (set(found.added), set(found.removed)) == (set(), set())
    assert found.at_identity == noted


def test_e1_an_answer_has_not_landed_where_another_shows_the_same() -> None:
    """One of the two is still on its way; nobody can tell which."""
    one = InFlight(T0, T0, frozenset("a"), frozenset("ab"))
    other = InFlight(T0, T0, frozenset("abc"), frozenset("ab"))
    noted = AtIdentity(frozenset("a"), in_flight=(one, other))
    found = noted.observe(frozenset("ab"), moment(2))
    assert found.at_identity.in_flight[:2] == (one, other)


def test_e1_a_role_that_a_late_answer_brings_back_is_no_grant_of_whoever_changes_another() -> None:
    """The answer had both; an administrator at Identity takes the other away."""
    user = grant_role(known(["m"]), "a", actor="cli", now=moment(0))
    user, held = push(grant_role(user, "b", actor="cli", now=moment(0)), 0, ["m"])
    user = change(receive(user, "login", 1, ["m"]))  # read before; answered with a, b, m
    user = revoke_role(user, "a", actor="cli", now=moment(2))
    user, held = push(revoke_role(user, "b", actor="cli", now=moment(2)), 2, held)
    assert held == ["m"]
    found = receive(user, "usermodified", 3, ["b", "m"])  # it landed, and a is taken away
    assert effective(change(found).grants, NOON) == {"m"}
    assert found.reply.app_metadata == {"provider": "email", "roles": ["m"]}


def test_e1_a_login_may_show_what_was_there_before_an_answer_landed() -> None:
    """The change was ours, and nobody's grant or removal; the state before it may be shown yet."""
    user = change(receive(known(["a", "m"]), "usermodified", 0, ["b", "m"]))
    user = change(receive(user, "login", 1, ["a", "m"]))  # read before; answered with b, m
    user = change(receive(user, "login", 1, ["a", "m"]))  # once more
    user, _ = push(revoke_role(user, "b", actor="cli", now=moment(2)), 2, ["b", "m"])
    user = grant_role(user, "b", actor="cli", now=moment(3))
    user = prepare(user, event("login", roles=["b", "m"]).user, moment(4)).user  # landed
    found = receive(user, "login", 5, ["m"])  # read before it did
    assert effective(change(found).grants, NOON) == {"b", "m"}


def test_e1_a_role_given_and_taken_at_identity_stays_taken_when_an_answer_gives_it_later() -> None:
    """The payload that shows it given does not prove that the answer has landed."""
    user = grant_role(known(["m"]), "a", actor="cli", now=moment(0))
    user = change(receive(user, "login", 1, ["m"]))  # answered with a, m
    user = change(receive(user, "usermodified", 2, ["a", "m"]))
    user = change(receive(user, "usermodified", 3, ["m"]))
    assert effective(user.grants, NOON) == {"m"}
    found = receive(user, "login", 40, ["a", "m"])  # it has landed
    assert effective(change(found).grants, NOON) == {"m"}
    assert found.reply.app_metadata == {"provider": "email", "roles": ["m"]}


def test_e1_a_role_given_and_taken_at_identity_after_an_answer_landed_stays_taken() -> None:
    """A slip that is undone at once: the payload that shows it shows the answer as well."""
    user = grant_role(known(["m"]), "a", actor="cli", now=moment(0))
    user = change(receive(user, "login", 1, ["m"]))  # answered with a, m, which lands
    user = change(receive(user, "usermodified", 2, ["a", "m", "x"]))
    assert effective(user.grants, NOON) == {"a", "m", "x"}
    user = change(receive(user, "usermodified", 3, ["a", "m"]))
    assert effective(user.grants, NOON) == {"a", "m"}


def test_e1_two_events_of_one_second_with_one_answer_are_two_answers() -> None:
    """One of them has landed; the other may still take away what was given since."""
    user = revoke_role(known(["a", "b"]), "a", actor="cli", now=moment(0))
    user = change(receive(user, "usermodified", 1, ["a", "b"]))  # answered with b, which lands
    user = change(receive(user, "login", 1, ["a", "b"]))  # read before; answered with b as well
    user = change(receive(user, "usermodified", 1, ["b", "x"]))
    found = receive(user, "login", 40, ["b"])  # the answer to the login has landed
    assert effective(change(found).grants, NOON) == {"b", "x"}


def test_e1_an_answer_that_changes_no_role_is_remembered_too() -> None:
    """It replaces the whole map: a role taken away meanwhile would come back."""
    constants = FilePolicy(app_metadata={"plan": "free"})
    login = event("login", 0, roles=["a"], confirmed_at=NOON)
    found = decide(login, known(["a"]), constants, NOON)
    assert found.reply.status == 200
    user = change(receive(change(found), "usermodified", 1, []))
    found = receive(user, "login", 2, ["a"])
    assert effective(change(found).grants, NOON) == frozenset()


@pytest.mark.parametrize(
    ("roles", "pushing", "outcome"),
    [
        (["b"], frozenset({"b"}), Outcome.UNCHANGED),
        (["b"], None, Outcome.APPLIED),
        (["b", "x"], frozenset({"b"}), Outcome.APPLIED),
    ],
)
def test_e2_a_usermodified_after_our_push_echoes_it(
    roles: list[str], pushing: frozenset[str] | None, outcome: Outcome
) -> None:
    """The record notes it; nothing has changed. More than that was somebody's change."""
    user = known(["b"])
    there = replace(user.at_identity, pushing=pushing, pushing_since=T0)
    found = receive(replace(user, at_identity=there), "usermodified", 1, roles)
    assert found.outcome is outcome
    echo = ("push.echo", "Identity tells of what a push of ours wrote there")
    assert ((found.reasons[-1].rule, found.reasons[-1].text) == echo) is (outcome == "unchanged")
    assert change(found).order > user.order
