"""What Identity is told, and what is remembered of it: the whole map, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import NOON, POLICY, T0, after, event, noted, outcome
from usher.core.domain.decide import decide
from usher.core.domain.reply import Reply

NOBODY = replace(POLICY, roles=())


@pytest.mark.parametrize("held", [None, {}, {"provider": "email"}, {"roles": []}])
def test_without_any_role_nothing_is_answered(held: dict[str, Any] | None) -> None:
    """Where Identity shows none either."""
    assert outcome(event("login", app_metadata=held), policy=NOBODY).reply == Reply(204)


def test_null_in_place_of_roles_is_answered_with_an_empty_list() -> None:
    """So that whoever reads the token finds a list."""
    reply = outcome(event("login", app_metadata={"a": 1, "roles": None}), policy=NOBODY).reply
    assert reply == Reply.telling({"a": 1, "roles": []})


# what the policy adds, what Identity holds beside the roles, what is answered (None: nothing)
CONSTANTS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]] = [
    ({"plan": "free"}, {"plan": "free", "odd": None}, None),
    ({"plan": "free"}, {"plan": "paid"}, {"plan": "free"}),
    ({"plan": "free"}, {"odd": None}, {"odd": None, "plan": "free"}),
    ({"plan": None}, {"plan": "free", "odd": 1}, {"odd": 1}),
    ({"plan": None}, {"plan": None, "odd": 1}, {"odd": 1}),
    ({"plan": None}, {"odd": None}, None),
    ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"a": 1, "b": 2}),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, None),
]


@pytest.mark.parametrize(("constants", "held", "answered"), CONSTANTS)
def test_what_the_policy_adds_is_answered_where_it_differs(
    constants: dict[str, Any], held: dict[str, Any], answered: dict[str, Any] | None
) -> None:
    """A key that it sets to None is taken out; one that Identity holds as null is kept."""
    policy = replace(POLICY, app_metadata=constants)
    shown = event("login", app_metadata={**held, "roles": ["staff", "member"]})
    reply = decide(shown, None, policy, NOON).reply
    if answered is None:
        assert reply == Reply(204)
    else:
        assert reply.app_metadata == {**answered, "roles": ["member", "staff"]}


# an answer that was given while there was no record to look at -> (sent, withdrawn) afterwards
GIVEN: list[tuple[Reply, dict[str, int], dict[str, int]]] = [
    (Reply(204), {}, {}),
    (Reply(202), {}, {}),
    (Reply.telling({"roles": ["member", "x"]}), {"member": T0}, {}),
    (Reply.telling({"roles": ["member"]}), {"member": T0}, {"x": T0}),
    (Reply.telling({"plan": 1}), {}, {"x": T0}),
]


@pytest.mark.parametrize(("given", "sent", "withdrawn"), GIVEN)
def test_an_answer_that_was_given_already_is_what_is_remembered(
    given: Reply, sent: dict[str, int], withdrawn: dict[str, int]
) -> None:
    """Not the one that would be given now, which the decision has beside it."""
    found = decide(event("login", roles=["x"]), None, POLICY, NOON, given)
    assert found.reply == decide(event("login", roles=["x"]), None, POLICY, NOON).reply
    assert found.user is not None
    there = found.user.at_identity
    assert (there.sent, there.withdrawn) == (sent, withdrawn)
    assert {grant.role for grant in found.user.grants} == {"member", "staff", "x"}


def test_what_is_left_out_of_an_answer_is_remembered_with_its_time() -> None:
    """Beside what was left out before."""
    user = after([event("login", roles=["x", "y"])])
    assert user is not None
    said = [replace(grant, denies=grant.role in ("x", "y")) for grant in user.grants]
    user = noted(user, withdrawn={"y": T0 - 9}, sent={"z": T0 - 9})
    user = replace(user, grants=tuple(said))
    found = outcome(event("login", 1, roles=["member", "x"]), user).user
    assert found is not None
    there = found.at_identity
    assert (there.sent, there.withdrawn) == ({"staff": T0, "z": T0 - 9}, {"x": T0})
    found = outcome(event("login", 1, roles=["x", "y"]), user).user
    assert found is not None
    assert found.at_identity.withdrawn == {"x": T0, "y": T0}


def test_an_answer_without_any_role_takes_away_what_identity_shows() -> None:
    """``roles`` is answered empty where Identity has some, and left out where it has none."""
    nobody = replace(POLICY, roles=())
    shown = outcome(event("usermodified", roles=["x"], confirmed_at=NOON), policy=nobody)
    assert shown.user is not None
    denied = replace(
        shown.user, grants=tuple(replace(grant, denies=True) for grant in shown.user.grants)
    )
    emptied = outcome(event("login", 1, roles=["x"]), denied, nobody).reply
    assert emptied.app_metadata == {"provider": "email", "roles": []}
    none = outcome(event("login"), policy=nobody).reply
    assert none.app_metadata is None


def test_a_further_key_that_is_none_is_taken_out() -> None:
    """And the others are kept."""
    user = after([event("signup")])
    assert user is not None
    user = replace(user, extra_app_metadata={"plan": None, "team": "a"})
    held = {"provider": "email", "plan": "free", "other": 1, "roles": ["member", "staff"]}
    reply = outcome(event("login", 1, app_metadata=held), user).reply
    assert reply.app_metadata == {
        "provider": "email", "other": 1, "team": "a", "roles": ["member", "staff"],
    }  # fmt: skip
