"""Changes of a record, told to a site's own code: one for each fact in an entry of the audit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import event
from tests.support import NOON
from usher.core.domain.outbox import (
    Change,
    Kind,
    Person,
    changes_of,
    denial_of,
    matches,
    person_of,
    unknown_patterns,
    with_person,
)
from usher.core.domain.records import (
    THE_SITE,
    AuditEntry,
    Grant,
    Source,
    User,
    audit,
)
from usher.core.domain.written import Written

SITE, ADA = UUID(int=1), UUID(int=2)
PENDING = User(SITE, ADA, NOON, NOON, email="ada@example.com")
ACTIVE = replace(PENDING, confirmed_at=NOON)
WAITING = replace(ACTIVE, waiting_since=NOON)
SUSPENDED = replace(ACTIVE, suspended_at=NOON)
DELETED = replace(ACTIVE, deleted_at=NOON)


def given(user: User, *grants: Grant) -> User:
    """The record with these grants."""
    return replace(user, grants=grants)


def word(role: str, source: Source = Source.POLICY, **fields: Any) -> Grant:
    """A source's word about a role."""
    return Grant(role, source, NOON, **fields)


EDITOR = word("editor")
BY_HAND = word("editor", Source.ADMINISTRATOR)
DENIED = word("editor", Source.ADMINISTRATOR, denies=True)
ENDED = word("editor", expires_at=NOON - timedelta(seconds=1))
FOR_A_DAY = word("editor", expires_at=NOON + timedelta(days=1))

GRANTED, REVOKED = ("role.granted", "editor"), ("role.revoked", "editor")


def told(before: User | None, after: User, action: str = "user.changed") -> list[tuple[str, str]]:
    """The kinds and roles that the entry of a change tells of."""
    entry = audit(action, "identity", before, after, NOON)
    return [] if entry is None else [(each.kind, each.role) for each in changes_of(entry)]


@pytest.mark.parametrize(
    ("before", "after", "kinds"),
    [
        (None, PENDING, [("user.created", "")]),
        (None, ACTIVE, [("user.created", ""), ("user.confirmed", "")]),
        (None, given(ACTIVE, EDITOR), [("user.created", ""), ("user.confirmed", ""), GRANTED]),
        (None, WAITING, [("user.created", "")]),
        (None, DELETED, [("user.deleted", "")]),
        (PENDING, ACTIVE, [("user.confirmed", "")]),
        (PENDING, WAITING, []),
        (WAITING, given(ACTIVE, EDITOR), [("user.confirmed", ""), GRANTED]),
        (PENDING, replace(PENDING, suspended_at=NOON), [("user.suspended", "")]),
        (ACTIVE, SUSPENDED, [("user.suspended", "")]),
        (SUSPENDED, ACTIVE, [("user.reactivated", "")]),
        (SUSPENDED, WAITING, [("user.reactivated", "")]),
        (ACTIVE, DELETED, [("user.deleted", "")]),
        (SUSPENDED, replace(SUSPENDED, deleted_at=NOON), [("user.deleted", "")]),
        (ACTIVE, replace(ACTIVE, email="b@example.com"), [("user.changed", "")]),
        (ACTIVE, replace(ACTIVE, user_metadata={"name": "Ada"}), [("user.changed", "")]),
        (ACTIVE, replace(ACTIVE, profile={"about": "x"}), [("user.changed", "")]),
        (ACTIVE, replace(ACTIVE, last_seen_at=NOON), []),
        (ACTIVE, given(ACTIVE, EDITOR), [GRANTED]),
        (given(ACTIVE, EDITOR), ACTIVE, [REVOKED]),
        (given(ACTIVE, EDITOR), given(ACTIVE, BY_HAND, EDITOR), []),
        (given(ACTIVE, BY_HAND, EDITOR), given(ACTIVE, EDITOR), []),
        (given(ACTIVE, EDITOR), given(ACTIVE, DENIED, EDITOR), [REVOKED]),
        (given(ACTIVE, DENIED, EDITOR), given(ACTIVE, EDITOR), [GRANTED]),
        (ACTIVE, given(ACTIVE, DENIED), []),
        (given(ACTIVE, DENIED), given(ACTIVE, DENIED, EDITOR), []),
        (ACTIVE, given(ACTIVE, ENDED), []),
        (ACTIVE, given(ACTIVE, FOR_A_DAY), [GRANTED]),
        (given(ACTIVE, FOR_A_DAY), given(ACTIVE, EDITOR), []),
        (given(ACTIVE, EDITOR), given(SUSPENDED), [REVOKED, ("user.suspended", "")]),
    ],
)
def test_an_entry_tells_each_fact_once(
    before: User | None, after: User, kinds: list[tuple[str, str]]
) -> None:
    """And nothing else: no role that stays effective, no login, no merge with Identity."""
    assert told(before, after) == kinds


def test_a_grant_that_ended_is_told_when_it_is_removed() -> None:
    """Its entry is of a time at which it holds no more, but before it held."""
    before = given(ACTIVE, word("editor", expires_at=NOON - timedelta(minutes=1)))
    entry = audit("role.ended", "usher", before, ACTIVE, NOON)
    assert entry is not None
    assert [(one.kind, one.role) for one in changes_of(entry)] == [REVOKED]


def entry_of(**fields: Any) -> AuditEntry:
    """An entry with defaults."""
    values: dict[str, Any] = {
        "action": "user.changed",
        "actor": "cli:bob",
        "instance_id": SITE,
        "user_id": ADA,
        "at": NOON,
        "before": {"email": "a@example.com"},
        "after": {"email": "b@example.com"},
        "reason": "asked for",
        "sequence": 7,
    }
    return AuditEntry(**(values | fields))


@pytest.mark.parametrize(
    ("entry", "kinds"),
    [
        (entry_of(user_id=THE_SITE, action="policy.reloaded"), []),
        (entry_of(action="event.denied", before=None, after={}), ["event.denied"]),
        (entry_of(action="user.removed", before={"status": "pending"}), ["user.deleted"]),
        (entry_of(action="user.invited", before={}, after={}), []),
    ],
)
def test_entries_of_their_own_kind(entry: AuditEntry, kinds: list[str]) -> None:
    """What is about the site is nobody's change."""
    assert [one.kind for one in changes_of(entry)] == kinds


def test_a_change_has_all_that_its_entry_has() -> None:
    """And the person's id; the rest of the person is read when it is handed over."""
    (change,) = changes_of(entry_of(delivery_id="d"))
    assert change == Change(
        id=change.id,
        kind=Kind.USER_CHANGED,
        at=NOON,
        instance_id=SITE,
        user=Person(id=ADA),
        before={"email": "a@example.com"},
        after={"email": "b@example.com"},
        actor="cli:bob",
        reason="asked for",
        delivery_id="d",
        sequence=7,
    )


def test_the_id_is_the_same_each_time_and_of_no_other_change() -> None:
    """Also of the same place in an audit that was set back to an earlier time."""
    first, again = (
        {one.id for one in changes_of(audit_of(ACTIVE, given(ACTIVE, EDITOR, word("x"))))}
        for _ in range(2)
    )
    assert first == again
    assert len(first) == 2
    others = [
        entry_of(sequence=8),
        entry_of(at=NOON + timedelta(microseconds=1)),
        entry_of(user_id=SITE),
        entry_of(instance_id=ADA),
    ]
    ids = {changes_of(each)[0].id for each in [entry_of(), *others]}
    assert len(ids) == len(others) + 1
    assert all(one.startswith("chg_") and len(one) == 36 for one in ids | first)


def audit_of(before: User, after: User) -> AuditEntry:
    """The entry of a change, as the audit has it."""
    entry = audit("role.granted", "cli:bob", before, after, NOON)
    assert entry is not None
    return replace(entry, sequence=3)


def test_a_person_is_the_record_of_now() -> None:
    """With effective roles, and what is added to the metadata."""
    user = replace(
        given(ACTIVE, DENIED, EDITOR, word("member")),
        app_metadata={"provider": "email", "plan": "old"},
        extra_app_metadata={"plan": "new", "gone": None},
        user_metadata={"name": "Ada"},
        profile={"about": "x"},
        written=Written({"plan": "site.plans"}),
    )
    assert person_of(user, NOON) == Person(
        id=ADA,
        email="ada@example.com",
        status="active",
        roles=("member",),
        user_metadata={"name": "Ada"},
        app_metadata={"provider": "email", "plan": "new"},
        profile={"about": "x"},
        written={"plan": "new"},
    )


def test_a_deletion_carries_what_handlers_wrote() -> None:
    """And nothing else; any other change has the person of now, or of nobody the id alone."""
    written = replace(ACTIVE, written=Written({"plan": "site.plans"}))
    before = replace(written, extra_app_metadata={"plan": 7})
    entry = audit("user.deleted", "identity", before, DELETED, NOON)
    assert entry is not None
    (change,) = changes_of(entry)
    told = with_person(change, DELETED, NOON)
    assert told.user == Person(id=ADA, status="deleted", written={"plan": 7})
    assert (told.before, told.after) == ({}, {})
    created = audit("user.created", "identity", None, ACTIVE, NOON)
    assert created is not None
    first = changes_of(created)[0]
    assert with_person(first, ACTIVE, NOON).user == person_of(ACTIVE, NOON)
    assert with_person(first, None, NOON).user == Person(id=ADA, status="")


def test_a_denial_holds_nothing_personal_but_the_id() -> None:
    """The event's name and the rule; a handler finds the delivery by its id."""
    denied = event("signup", email="ada@example.com")
    entry = denial_of(denied, "admission.deny_emails", NOON)
    (change,) = changes_of(entry)
    assert (change.kind, change.user.id) == (Kind.EVENT_DENIED, denied.user.id)
    assert (change.delivery_id, change.at) == (denied.delivery_id, NOON)
    assert change.after == {"event": "signup", "rule": "admission.deny_emails"}
    assert "ada" not in str(entry)


def test_patterns_name_kinds() -> None:
    """A pattern that no kind matches is found before anything waits for it in vain."""
    assert matches({"user.*"}, "user.deleted")
    assert matches({"*"}, "event.denied")
    assert not matches({"user.*", "role.granted"}, "role.revoked")
    assert unknown_patterns({"user.*", "*", "user.confirmd", "role.granted"}) == ["user.confirmd"]
