"""What of two maps an entry of the audit holds, and such a change made again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import NOON
from usher.core.bounds import MAX_DEPTH
from usher.core.captures.replay import redo
from usher.core.domain.administration import Change, edit, grant, revoke
from usher.core.domain.changes import changed, differing
from usher.core.domain.records import AuditEntry, User, audit
from usher.core.strict_json import dumps, equal
from usher.emulator.payload import ZERO_INSTANCE

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(["", "a", 1.0]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=12,
)
MAPS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
ADA = User(ZERO_INSTANCE, UUID(int=7), created_at=NOON, updated_at=NOON)


@pytest.mark.parametrize(
    ("was", "now", "old", "new"),
    [
        ({}, {}, {}, {}),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 2}, {"b": 3}),
        ({"a": 1}, {"a": 1, "b": None}, {}, {"b": None}),
        ({"a": 1, "b": None}, {"a": 1}, {"b": None}, {}),
        ({"a": 1}, {"a": True}, {"a": 1}, {"a": True}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"x": 1, "y": 3}}, {"a": {"y": 2}}, {"a": {"y": 3}}),
        ({"a": {"x": 1}}, {"a": {}}, {"a": {"x": 1}}, {"a": {}}),
        ({"a": {"x": 1}}, {}, {"a": {"x": 1}}, {}),
        ({"a": {}}, {}, {"a": {}}, {}),
        ({"a": {"x": 1}}, {"a": [1]}, {"a": {"x": 1}}, {"a": [1]}),
        ({"a": [1, 2]}, {"a": [1, 3]}, {"a": [1, 2]}, {"a": [1, 3]}),
    ],
)
def test_only_what_differs_is_told(was: Any, now: Any, old: Any, new: Any) -> None:
    """At any depth; a key that was added or removed is on one side alone."""
    found = differing(was, now)
    assert equal(found[0], old)
    assert equal(found[1], new)


def test_below_a_depth_maps_are_told_whole() -> None:
    """A word about a role is one thing."""
    was, now = {"a": {"b": {"x": 1, "y": 2}, "c": 1}}, {"a": {"b": {"x": 1, "y": 3}, "c": 1}}
    assert differing(was, now, 1) == (
        {"a": {"b": {"x": 1, "y": 2}}},
        {"a": {"b": {"x": 1, "y": 3}}},
    )
    assert differing(was, now, 0) == (was, now)


@given(was=MAPS, now=MAPS)
def test_a_change_can_be_made_again(was: dict[str, Any], now: dict[str, Any]) -> None:
    """From what it told, and from whole maps, as earlier versions told it."""
    assert equal(changed(was, *differing(was, now)), now)
    assert equal(changed(was, was, now), now)
    assert equal(changed({}, {}, now), now)


@given(was=MAPS, now=MAPS)
def test_nothing_is_told_twice(was: dict[str, Any], now: dict[str, Any]) -> None:
    """Of what differs nothing is the same on both sides."""
    old, new = differing(was, now)
    assert differing(old, new) == (old, new)
    assert not any(equal(old[key], new[key]) for key in old.keys() & new.keys())


def test_maps_of_any_depth() -> None:
    """As deep as any document that is read."""
    was: Any = 1
    now: Any = 2
    for _ in range(MAX_DEPTH):
        was, now = {"a": was, "b": "x" * 50}, {"a": now, "b": "x" * 50}
    old, new = differing(was, now)
    assert len(dumps(old)) < 10 * MAX_DEPTH
    assert equal(changed(was, old, new), now)


def act(before: User, command: Any, seconds: int) -> tuple[User, AuditEntry]:
    """A change by an administrator, and its entry."""
    at = NOON + timedelta(seconds=seconds)
    after = command.apply(before, Change("cli:boss", "why"), at)
    entry = audit(command.action, "cli:boss", before, after, at, "why")
    assert entry is not None
    return after, entry


def test_an_entry_about_a_role_does_not_tell_of_the_others() -> None:
    """Nor of another source's word about it."""
    user = ADA
    for number in range(40):
        user, _ = act(user, grant(f"role-{number}"), number)
    user, entry = act(user, revoke("role-7"), 50)
    assert entry.before is not None
    assert entry.before["roles"].keys() == {"role-7"}
    assert entry.after == {"roles": {}}
    _, entry = act(user, grant("role-8", expires_at=NOON + timedelta(days=1)), 51)
    assert entry.after["roles"]["role-8"]["administrator"]["is"] == "grant"
    assert entry.after["roles"].keys() == {"role-8"}


@pytest.mark.parametrize("whole", [False, True], ids=["as told now", "as told by earlier versions"])
def test_acts_are_redone_from_entries_of_any_version(whole: bool) -> None:
    """The record after them is the same."""
    there = again = ADA
    commands = (
        edit(profile={"name": "Ada", "more": {"a": 1, "b": [1]}}),
        edit(profile={"more": {"a": None, "c": {"d": 1}}}, app_metadata={"plan": "gold"}),
        edit(app_metadata={"plan": None}),
        grant("editor"),
        edit(profile={"name": None, "more": {"c": {"d": 2}}}),
        grant("author"),
        revoke("editor"),
    )
    for number, command in enumerate(commands):
        before = there
        there, entry = act(before, command, number)
        if whole:
            old, new = audit("", "", None, before, NOON), audit("", "", None, there, NOON)
            assert old is not None
            assert new is not None
            entry = AuditEntry(
                entry.action,
                entry.actor,
                *(entry.instance_id, entry.user_id, entry.at),
                {key: old.after[key] for key in entry.after},
                {key: new.after[key] for key in entry.after},
                entry.reason,
            )
        again = redo(again, entry, "fingerprint")
    assert (again.profile, again.extra_app_metadata) == (there.profile, there.extra_app_metadata)
    assert there.profile == {"more": {"b": [1], "c": {"d": 2}}}
    assert {(g.role, g.source, g.denies) for g in again.grants} == {
        (g.role, g.source, g.denies) for g in there.grants
    }
