"""Two JSON documents are compared by type and value, wherever that is done."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.domain.decide_support import POLICY, after, event, outcome
from tests.domain.test_sync import SAME, imported, person
from tests.support import NOON
from usher.core.domain.administration import edit_app_metadata, edit_profile
from usher.core.domain.differences import Differences, replies_in_words, user_differences
from usher.core.domain.events import Event
from usher.core.domain.policy import Applicant, Verdict
from usher.core.domain.push import must_be_told, patch_for
from usher.core.domain.records import User, audit
from usher.core.domain.reply import Reply
from usher.core.domain.sync import Kind, Mending, adopt, compare
from usher.core.domain.sync_plan import Plan
from usher.core.domain.trial import try_on_past
from usher.core.policy_file import parse_policy
from usher.core.strict_json import equal
from usher.emulator.payload import ZERO_INSTANCE

PAIRS: list[tuple[Any, Any, bool]] = [
    (1, True, False),
    (0, False, False),
    (1.0, True, False),
    (1, 1.0, True),
    (0, -0.0, True),
    (2**53 + 1, float(2**53), False),
    ("1", 1, False),
    (None, False, False),
    ([], {}, False),
    ([1], [True], False),
    ([1, 2], [2, 1], False),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ({"a": [{"b": 0}]}, {"a": [{"b": False}]}, False),
    ({"a": None}, {}, False),
]


@pytest.mark.parametrize(("one", "other", "same"), PAIRS, ids=[f"{a}, {b}" for a, b, _ in PAIRS])
def test_b2_json_values_are_equal_by_type_and_value(one: Any, other: Any, same: bool) -> None:
    """Numbers by their value, as Identity writes 1.0 back as 1; a boolean is no number."""
    assert equal(one, other) is same
    assert equal(other, one) is same
    assert equal({"x": [one]}, {"x": [other]}) is same


SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "1", 0.0, 1.0, 0.5])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner)
)


def spelled(value: Any) -> str:
    """A value in one spelling, whole numbers as Go writes them."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{spelled(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


@given(VALUES, VALUES)
def test_b2_equal_is_the_same_text_in_one_spelling(one: Any, other: Any) -> None:
    """Whatever JSON the two are; a copy through JSON stays equal."""
    assert equal(one, other) is (spelled(one) == spelled(other))
    assert equal(one, json.loads(json.dumps(one)))


# --- every place that compares documents ---------------------------------------------------------

TWINS = [(1, True), (False, 0), ([1], [True]), ({"a": {"b": 0}}, {"a": {"b": False}})]


def noted(name: str, was: Any, now: Any) -> bool:
    """Whether a record's change of one map is told among the differences."""
    found = Differences()
    first, second = record_with(name, was), record_with(name, now)
    for what, one, other in user_differences(first, second, NOON):
        found.note(what, one, other, "")
    return [group.what for group in found.groups()] == [name]


def mended(was: Any, now: Any) -> bool:
    """Whether a sync takes over metadata that differs so."""
    record = imported(user_metadata={"k": was})
    account = person(user_metadata={"k": now})
    mending = Mending(Plan(pull=True), POLICY, NOON)
    kinds = compare(account, record, NOON)
    user = mending.mend(ZERO_INSTANCE, account, record, kinds)
    return kinds == (Kind.METADATA,) and user is not None and equal(user.user_metadata["k"], now)


def changed(command: Callable[[User, dict[str, Any]], User], was: Any, now: Any) -> bool:
    """Whether a merge patch is a change, by the audit."""
    before = command(SAME, {"k": was})
    return audit("user.changed", "a", before, command(before, {"k": now}), NOON) is not None


class Adding:
    """A policy that answers one key."""

    fingerprint = "adding"

    def __init__(self, value: Any) -> None:
        self.value = value

    def evaluate(self, applicant: Applicant) -> Verdict:
        """The key, and a role for who has exactly it already."""
        held = equal(applicant.app_metadata.get("k"), self.value)
        roles = frozenset({"exact"} if held else ())
        return Verdict(app_metadata={"k": self.value}, roles=roles)

    def screen(self, event: Event, verdict: Verdict) -> Verdict:
        """Nothing that is typed matters."""
        return verdict


def asked_again(was: Any, now: Any) -> bool:
    """Whether a sync asks the policy again where its input differs so."""
    record = imported(app_metadata={"provider": "email", "k": was})
    account = person(app_metadata={"provider": "email", "k": now}, roles=None)
    user = adopt(ZERO_INSTANCE, account, record, Adding(now), NOON)
    return any(grant.role == "exact" for grant in user.grants)


def answered(was: Any, now: Any) -> bool:
    """Whether Identity is told of a key that it holds so."""
    login = event("login", 1, app_metadata={"k": was}, roles=None)
    policy = replace(parse_policy(""), app_metadata={"k": now})
    return outcome(login, policy=policy).reply.status == 200


def tried(was: Any, now: Any) -> bool:
    """Whether a trial takes the verdicts of two policies for different ones."""

    class Counted(Adding):
        asked = 0

        def evaluate(self, applicant: Applicant) -> Verdict:
            """Count, and answer the key."""
            self.asked += 1
            return Verdict(app_metadata={"k": self.value})

    new = Counted(now)
    assert try_on_past([[(event("login", 1), NOON)]], Counted(was), new).count == 1
    return new.asked == 2  # to compare, then to decide


def record_with(name: str, value: Any) -> User:
    """A record that holds the value."""
    fields: dict[str, Any] = {name: {"k": value}}
    return replace(SAME, **fields)


PLACES: dict[str, Callable[[Any, Any], bool]] = {
    "a profile's merge patch": lambda was, now: changed(edit_profile, was, now),
    "a patch of app_metadata": lambda was, now: changed(edit_app_metadata, was, now),
    "the differences of user_metadata": lambda was, now: noted("user_metadata", was, now),
    "the differences of profiles": lambda was, now: noted("profile", was, now),
    "a sync": mended,
    "a sync's question to the policy": asked_again,
    "an answer to an event": answered,
    "a policy trial": tried,
    "the answers of a replay": lambda was, now: (
        len(set(replies_in_words(Reply.telling({"k": was}), Reply.telling({"k": now})))) == 2
    ),
    "a push": lambda was, now: (
        patch_for(record_with("extra_app_metadata", now), person(app_metadata={"k": was}), NOON)
        .keys() >= {"k"}
    ),
    "what must be pushed": lambda was, now: must_be_told(
        SAME, replace(record_with("extra_app_metadata", now), app_metadata={"k": was}), NOON
    ),
    "an event's changes": lambda was, now: (
        (found := outcome(event("login", 2, user_metadata={"k": now}),
                          after([event("login", 1, user_metadata={"k": was})])).audit) is not None
        and "user_metadata" in found.after
    ),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("was", "now"), TWINS, ids=str)
def test_b2_every_place_tells_booleans_from_numbers(place: str, was: Any, now: Any) -> None:
    """Each of the twins replaces the other, and neither replaces itself."""
    assert PLACES[place](was, now)
    assert PLACES[place](now, was)
    assert not PLACES[place](now, json.loads(json.dumps(now)))


def test_b2_a_difference_beyond_the_words_is_told() -> None:
    """Two long values that begin alike do not look alike."""
    was, now = "x" * 5000 + "a", "x" * 5000 + "b"
    assert noted("profile", was, now)
    first, second = replies_in_words(Reply.telling({"k": was}), Reply.telling({"k": now}))
    assert first != second
    assert max(len(first), len(second)) < 100


def test_answers_that_are_no_json_are_compared_as_text() -> None:
    """Those of a proxy, for one."""
    page = Reply(502, "text/html", "<html>a")
    assert len(set(replies_in_words(page, page))) == 1
    assert len(set(replies_in_words(page, Reply(502, "text/html", "<html>b")))) == 2


DOCUMENTS = {
    "user_metadata", "app_metadata", "profile", "extra_app_metadata", "document",
    "received", "approved", "verdict",
}  # fmt: skip


@pytest.mark.parametrize("folder", ["core", "cli", "functions", "testing"])
def test_b2_no_document_is_compared_by_pythons_own_equality(folder: str) -> None:
    """A law: names that hold documents stand on no side of == or !=."""
    wrong = []
    for path in (Path(__file__).parents[2] / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Eq | ast.NotEq):
                sides = [node.left, *node.comparators]
                names = {getattr(side, "attr", getattr(side, "id", "")) for side in sides}
                if names & DOCUMENTS:
                    wrong.append(f"{path.name}:{node.lineno}")
    assert not wrong
