"""What an event writes: the profile, the times, and the entry of the audit."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import ADA, NOON, POLICY, after, event, moment, outcome
from usher.core.domain.records import Outcome, User
from usher.emulator.payload import ZERO_INSTANCE

LATER = moment(30)

# event -> what it says of somebody unknown besides the profile
STRANGERS: list[tuple[str, dict[str, Any]]] = [
    ("validate", {}),
    ("signup", {"confirmed_at": moment(5), "last_seen_at": moment(5), "proven": True}),
    ("login", {"confirmed_at": moment(5), "last_seen_at": moment(5), "proven": True}),
    ("usermodified", {}),
]


@pytest.mark.parametrize(("name", "known"), STRANGERS)
def test_a_stranger_is_recorded_as_the_event_says(name: str, known: dict[str, Any]) -> None:
    """Only a signup or a login shows that somebody was there."""
    held = {"provider": "email", "plan": 1}
    each = event(name, 5, email="Ada@example.com", app_metadata=held, user_metadata={"x": 1})
    nobody = replace(POLICY, roles=())
    proven = frozenset({"ada@example.com"} if known.get("proven") else ())
    assert outcome(each, policy=nobody, now=LATER).user == User(
        ZERO_INSTANCE,
        ADA,
        created_at=LATER,
        updated_at=LATER,
        email="Ada@example.com",
        email_key="ada@example.com",
        provider="email",
        user_metadata={"x": 1},
        app_metadata=held,
        identity_created_at=NOON,
        order=each.order,
        **known | {"proven": proven},
    )


# events, by name and time -> when confirmed, when last seen
TIMES: list[tuple[list[tuple[str, int]], int, int]] = [
    ([("login", 10), ("signup", 5)], 5, 10),
    ([("signup", 5), ("login", 10)], 5, 10),
    ([("signup", 5), ("usermodified", 10)], 5, 5),
    ([("validate", 1), ("login", 3), ("validate", 10)], 3, 3),
]


@pytest.mark.parametrize(("told", "confirmed", "seen"), TIMES)
def test_confirmed_is_the_earliest_time_and_seen_the_latest(
    told: list[tuple[str, int]], confirmed: int, seen: int
) -> None:
    """In whatever order the events arrive."""
    user = after([event(name, at) for name, at in told])
    assert user is not None
    assert (user.confirmed_at, user.last_seen_at) == (moment(confirmed), moment(seen))


def test_an_event_that_comes_again_writes_nothing() -> None:
    """Not over what was found at Identity since, either; the answer is the same."""
    first = outcome(event("login", 10))
    assert first.user is not None
    since = replace(first.user, email="new@example.com", email_key="new@example.com")
    again = outcome(event("login", 10), replace(since, proven=first.user.proven))
    assert again.user is not None
    assert again.user.email == "new@example.com"
    again = outcome(event("login", 10), first.user)
    assert (again.outcome, again.user, again.reply, again.audit) == (
        Outcome.UNCHANGED, first.user, first.reply, None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "known", "action"),
    [
        ("validate", False, "user.created"),
        ("signup", False, "user.created"),
        ("signup", True, "user.changed"),
        ("usermodified", True, "user.changed"),
        ("userdeleted", False, "user.deleted"),
        ("userdeleted", True, "user.deleted"),
    ],
)
def test_the_audit_says_what_identity_did(name: str, known: bool, action: str) -> None:
    """Who, when, to whom, and the record before and after."""
    user = after([event("validate", -9, email="old@example.com")]) if known else None
    found = outcome(event(name, 5), user, now=LATER)
    assert found.outcome is Outcome.APPLIED
    assert found.user is not None
    entry = found.audit
    assert entry is not None
    assert (entry.action, entry.actor, entry.at) == (action, "identity", LATER)
    assert (entry.instance_id, entry.user_id) == (ZERO_INSTANCE, ADA)
    assert (entry.before is not None) is known
    assert entry.after["email"] == found.user.email
    assert found.user.version == 1 + known
