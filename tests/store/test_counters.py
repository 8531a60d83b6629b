"""Counters agree with what is counted, whatever happens to the records."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import text

from tests.profiles import examples
from tests.store.store_support import deliver, raw, rows
from tests.support import NOON, Clock, account, signed
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.records import Grant, Source, User
from usher.core.domain.roles import effective
from usher.core.errors import UsherError
from usher.core.store import counters
from usher.core.store.counts import MAX_NAMES
from usher.emulator.payload import ZERO_INSTANCE

BOSS = Change("cli:boss", force=True)
IDS = [uuid4() for _ in range(4)]
EVENTS = ("validate", "signup", "login", "usermodified", "userdeleted")
ACTS = st.one_of(
    st.tuples(st.sampled_from(EVENTS), st.sampled_from(IDS), st.sampled_from(["email", "google"])),
    st.tuples(st.sampled_from(["grant", "revoke"]), st.sampled_from(IDS), st.just("staff")),
    st.tuples(st.sampled_from(["suspend", "reactivate", "delete"]), st.sampled_from(IDS)),
    st.tuples(st.just("lend"), st.sampled_from(IDS), st.just("guest")),
    st.tuples(st.just("wait"), st.integers(1, 90)),
)


def act(usher: App, clock: Clock, step: tuple[Any, ...]) -> None:
    """One thing that happens."""
    name, *arguments = step
    if name == "wait":
        clock.advance(minutes=arguments[0])
        return
    user_id = arguments[0]
    assert isinstance(user_id, UUID)
    if name in EVENTS:
        who = account(user_id=user_id, email=f"{user_id}@example.com", provider=str(arguments[1]))
        deliver(usher, [signed(str(name), who)])
        return
    user = usher.store.users.look_up(user_id)
    if user is None:
        return
    try:
        if name == "lend":
            ends = clock() + timedelta(minutes=30)
            usher.store.users.change(user, administration.grant("guest", expires_at=ends), BOSS)
        elif name in ("grant", "revoke"):
            command = getattr(administration, str(name))(arguments[1])
            usher.store.users.change(user, command, BOSS)
        else:
            usher.store.users.change(user, getattr(administration, str(name))(), BOSS)
    except UsherError:
        assert user.deleted_at


@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(ACTS, max_size=25))
def test_the_counters_are_what_a_recount_gives(
    usher: App, clock: Clock, steps: list[tuple[object, ...]]
) -> None:
    """Events, administrators' acts and the passing of time, in any order."""
    with usher.store.database.write() as transaction:
        for table in ("users", "grants", "deliveries", "audit", "counters"):
            transaction.sql.execute(text(f"DELETE FROM {table}"))
    clock.now = NOON
    for step in steps:
        act(usher, clock, step)
    users = usher.store.users
    everybody = users.page(limit=50).items
    living = [user for user in everybody if not user.deleted_at]
    assert users.counts("status") == Counter(user.status.value for user in everybody)
    assert users.counts("provider") == Counter(user.provider for user in living)
    now = clock()
    by_role = Counter(role for user in living for role in effective(user.grants, now))
    assert users.counts("role") == by_role
    kept = rows(usher.store.database, "SELECT event, outcome FROM deliveries")
    by_day = Counter(f"2026-11-23:{event}:{outcome}" for event, outcome in kept)
    assert users.counts("day", "2026-11-20") == by_day


def test_a_role_that_ended_is_taken_off_with_an_entry_in_the_audit(
    usher: App, clock: Clock
) -> None:
    """It is not counted from then on; maintenance takes it off, and nobody's roles change by it."""
    who = account()
    deliver(usher, [signed("signup", who)])
    user = usher.store.users.get(who.id)
    ends = NOON + timedelta(hours=1)
    lent = usher.store.users.change(user, administration.grant("guest", expires_at=ends), BOSS)
    assert usher.store.users.counts("role")["guest"] == 1
    clock.advance(hours=1)
    assert "guest" not in usher.store.users.counts("role")
    assert usher.store.users.get(who.id) == lent
    usher.maintenance.step()
    assert "guest" not in usher.store.users.counts("role")
    after = usher.store.users.get(who.id)
    assert effective(after.grants, clock()) == effective(lent.grants, clock())
    newest = usher.store.users.audit_page(limit=1).items[0]
    assert (newest.action, newest.actor) == ("role.ended", "usher")
    assert after.version == lent.version + 1
    assert usher.store.users.end_grants() == 0


def test_who_has_a_role_from_somebody_else_too_is_counted_on(usher: App, clock: Clock) -> None:
    """An end takes off one word of several; a denial, which has none, stands."""
    ends, at = NOON + timedelta(hours=1), UUID(int=0)
    lent = Grant("guest", Source.ADMINISTRATOR, NOON, expires_at=ends)
    kept = Grant("guest", Source.IDENTITY, NOON)
    denied = Grant("guest", Source.POLICY, NOON, denies=True)
    refused = replace(lent, denies=True)
    both = (lent, replace(lent, source=Source.IDENTITY))
    words = {
        (lent,): 0,
        both: 0,
        (lent, kept): 1,
        (lent, denied): 0,
        (refused, kept): 1,
        (refused,): 0,
    }
    users = {
        (user.instance_id, user.id): user
        for grants in words
        for user in [User(at, uuid4(), NOON, NOON, grants=grants)]
    }
    with usher.store.database.write() as transaction:
        usher.store.users.store(transaction, {}, users, [])
    assert usher.store.users.counts("role") == {"guest": 3}
    clock.advance(hours=1)
    assert usher.store.users.counts("role") == {"guest": sum(words.values())}
    while usher.maintenance.step():
        pass
    assert usher.store.users.counts("role") == {"guest": sum(words.values())}


def test_days_are_told_from_the_first_one_asked_for(usher: App, clock: Clock) -> None:
    """In their order; events with a body that cannot be read have no name."""
    deliver(usher, [signed("signup", account()), raw(b"[]")])
    assert usher.store.users.counts("day", "2026-11-23") == {
        "2026-11-23::invalid": 1,
        "2026-11-23:signup:applied": 1,
    }
    assert usher.store.users.counts("day", "2026-11-24") == {}


def test_the_most_frequent_names_are_told_first_and_no_more_than_some(usher: App) -> None:
    """However many roles there are."""
    users = {}
    for number in range(MAX_NAMES + 5):
        grants = tuple(Grant(f"r{n:03}", Source.POLICY, NOON) for n in (0, number))[
            -1 - bool(number) :
        ]
        user = User(UUID(int=0), uuid4(), NOON, NOON, grants=grants)
        users[user.instance_id, user.id] = user
    with usher.store.database.write() as transaction:
        usher.store.users.store(transaction, {}, users, [])
    told = usher.store.users.counts("role")
    assert len(told) == MAX_NAMES
    assert next(iter(told.items())) == ("r000", MAX_NAMES + 5)


@pytest.mark.parametrize(("length", "counted"), [(39, 39), (40, 40), (41, 40), (60, 40)])
def test_an_events_name_is_counted_by_its_first_forty_characters(
    usher: App, length: int, counted: int
) -> None:
    """The sender chooses it, and the key of a counter stays short. The ledger has all of it."""
    names = ["e" * length, "e" * min(length, 40) + "f" * max(0, length - 40)]
    bodies = [{"event": name, "instance_id": str(ZERO_INSTANCE)} for name in names]
    deliver(usher, [raw(json.dumps(body).encode()) for body in bodies])
    days = usher.store.users.counts("day", "2026-11-23")
    expected = Counter(f"2026-11-23:{name[:counted]}:ignored" for name in set(names))
    assert days == expected
    assert {d.event for d in usher.store.ledger.page().items} == set(names)


def test_i6_each_process_draws_its_shard_at_its_first_write(
    usher: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forked ones too, and those of one snapshot; a process keeps to its own."""

    def shards() -> set[int]:
        return {row[0] for row in rows(usher.store.database, "SELECT shard FROM counters")}

    for number in range(4):
        deliver(usher, [signed("signup", account(email=f"{number}@example.com"))])
    assert len(shards()) == 1
    for number in range(50):
        process = SimpleNamespace(getpid=lambda number=number: -number)
        monkeypatch.setattr(counters, "os", process)
        deliver(usher, [signed("signup", account(email=f"forked{number}@example.com"))])
    assert len(shards()) > 2
