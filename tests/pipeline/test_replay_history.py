"""The ledger, played back into an empty database, gives what live traffic gave."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import text

from tests.domain.decide_support import ASKING
from tests.profiles import examples
from tests.store.store_support import deliver, raw
from tests.support import NOON, Clock, account, signed
from usher.core.app import App
from usher.core.captures.format import from_delivery, read_line, write_line
from usher.core.captures.replay import Replayer
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.outbox import Change as Told
from usher.core.domain.outbox import Kind, Person, Write
from usher.core.domain.records import AuditEntry, Status, User
from usher.core.domain.requests import State
from usher.core.errors import UsherError
from usher.core.settings import Settings
from usher.core.store.history import History

BOSS = "cli:boss"
IDS = [UUID(int=number) for number in (1, 2, 3)]
EVENTS = ("validate", "signup", "login", "usermodified", "userdeleted")
ROLES = st.none() | st.lists(st.sampled_from(["staff", "editor"]), unique=True)
DELIVERIES = st.tuples(
    st.sampled_from(EVENTS),
    st.sampled_from(IDS),
    st.sampled_from(["example.com", "mailinator.com"]),
    ROLES,
)
ACTS = st.tuples(
    st.sampled_from(
        ["grant", "revoke", "suspend", "reactivate", "delete", "lend", "edit", "end", "write"]
    ),
    st.sampled_from(IDS),
    st.sampled_from(["staff", "editor", "member"]),
)
REQUESTS = st.tuples(
    st.sampled_from(["approve", "approve", "ask", "decline"]),
    st.sampled_from(IDS),
    st.sampled_from(["staff", "editor"]),
)
ODD = st.tuples(st.sampled_from(["invalid", "unknown"]))
STEPS = st.lists(st.one_of(DELIVERIES, DELIVERIES, ACTS, ODD), max_size=20)


def live(app: App, clock: Clock, step: tuple[object, ...]) -> None:
    """One thing that happens, at a time of its own."""
    clock.advance(seconds=7)
    name, *arguments = step
    if name == "invalid":
        deliver_at(app, clock, raw_at(clock, b'{"event":"signup"}'))
    elif name == "unknown":
        body = b'{"event":"merged","instance_id":"' + str(UUID(int=0)).encode() + b'"}'
        deliver_at(app, clock, raw_at(clock, body))
    elif name in EVENTS:
        user_id, domain, roles = arguments
        who = account(user_id=user_id, email=f"{user_id}@{domain}", roles=roles)  # type: ignore[arg-type]
        deliver_at(app, clock, signed(str(name), who, at=clock()))
    else:
        by_hand(app, clock, str(name), *arguments)  # type: ignore[arg-type]


def raw_at(clock: Clock, body: bytes) -> object:
    """Any bytes, signed now."""
    from tests.support import SECRET, Signed
    from usher.emulator.payload import ZERO_INSTANCE
    from usher.emulator.sender import signed_headers

    headers = signed_headers("x", body, ZERO_INSTANCE, int(clock().timestamp()), SECRET)
    return Signed("x", headers, body)


def deliver_at(app: App, clock: Clock, delivery: object) -> None:
    """One delivery, received now."""
    from tests.support import verified

    app.webhooks.process([verified(app.webhooks, delivery, clock())])  # type: ignore[arg-type]


def by_hand(app: App, clock: Clock, name: str, user_id: UUID, role: str) -> None:
    """What an administrator or a handler does, where it can be done."""
    users, change = app.store.users, Change(BOSS, "because", force=True)
    user = users.look_up(user_id)
    if name in ("approve", "ask", "decline"):
        with suppress(UsherError):
            by_request(app, name, user, role)
    elif name == "end":
        users.end_grants()
    elif name == "write":
        with suppress(UsherError):
            by_handler(app, user, role)
    elif user is not None:
        try:
            if name == "lend":
                ends = clock() + timedelta(seconds=20)
                command = administration.grant(role, expires_at=ends)
            elif name in ("grant", "revoke"):
                command = getattr(administration, name)(role)
            elif name == "edit":
                likes = {"likes": role}
                command = administration.edit(profile=likes, app_metadata={"plan": role})
            else:
                command = getattr(administration, name)()
            users.change(user, command, change)
        except UsherError:
            assert user.status in (Status.DELETED, Status.WAITING)


def by_handler(app: App, user: User | None, role: str) -> None:
    """What a handler returns for a change of somebody."""
    if user is None:
        return
    change = Told(
        id="chg_1",
        kind=Kind.USER_CONFIRMED,
        at=NOON,
        instance_id=user.instance_id,
        user=Person(id=user.id),
    )
    write = Write(app_metadata={"seat": role}, grant=(role,), revoke=("auditor",))
    with app.store.write() as transaction:
        app.store.users.write_of_handler(transaction, "handler:site.seats", change, write)


def by_request(app: App, name: str, user: User | None, role: str) -> None:
    """What somebody asks for, and what becomes of it."""
    requests, change = app.requests, Change(BOSS, "because")
    if name == "ask" and user is not None:
        requests.ask(user, role, "please", f"user:{user.id}")
    elif user is not None:
        for request in requests.of(user):
            if name == "approve":
                requests.approve(request.id, app.policy, change, [role])
            else:
                requests.decline(request.id, change, "no")


def told(app: App) -> list[User]:
    """Every record; of a tombstone only what it is kept for."""
    found = app.store.users.page(limit=200).items
    return [replace(u, version=0, updated_at=NOON) if u.deleted_at else u for u in found]


def empty(app: App) -> None:
    """As if nothing had ever happened."""
    with app.store.database.write() as transaction:
        for table in (
            "users",
            "grants",
            "deliveries",
            "audit",
            "counters",
            "requests",
            "outbox_silent",
        ):
            transaction.sql.execute(text(f"DELETE FROM {table}"))


@pytest.fixture
def elsewhere(
    sqlite_template: Path, tmp_path: Path, make_settings: Callable[..., Settings]
) -> Iterator[App]:
    """A second App, with an empty database of its own."""
    path = tmp_path / "rebuilt.db"
    shutil.copy(sqlite_template, path)
    app = App(make_settings(database_url=f"sqlite:///{path}"))
    yield app
    app.close()


def played(source: App, target: App, *, with_acts: bool) -> None:
    """The whole history of one, through lines of text, into the other."""
    steps = [
        step
        if isinstance(step, AuditEntry)
        else read_line(write_line(from_delivery(step)).encode())
        for step in History(source.store.database).merged(with_acts=with_acts)
    ]
    replayer = Replayer(target.settings, target.policy_in_force, target.store)
    results = [each.result for each in replayer.play(steps)]
    assert not [result for result in results if isinstance(result, Exception)]


@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(STEPS)
def test_events_and_acts_played_back_give_the_same_users(
    usher: App, elsewhere: App, clock: Clock, steps: list[tuple[object, ...]]
) -> None:
    """Users, roles, tombstones and the state of the merge, after any history; twice is once."""
    empty(usher)
    empty(elsewhere)
    clock.now = NOON
    for step in steps:
        live(usher, clock, step)
    played(usher, elsewhere, with_acts=True)
    assert told(elsewhere) == told(usher)
    before = (told(elsewhere), elsewhere.store.users.audit_page(limit=200))
    played(usher, elsewhere, with_acts=True)
    assert (told(elsewhere), elsewhere.store.users.audit_page(limit=200)) == before


@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.one_of(DELIVERIES, REQUESTS, REQUESTS, ACTS), max_size=20))
def test_waiting_and_approvals_played_back_give_the_same_users(
    usher: App, elsewhere: App, clock: Clock, steps: list[tuple[object, ...]]
) -> None:
    """Under a policy that asks: statuses, grants, and the requests to be let in that are open."""
    for app in (usher, elsewhere):
        empty(app)
        app.policy_in_force.current = ASKING
    clock.now = NOON
    for step in steps:
        live(usher, clock, step)
    played(usher, elsewhere, with_acts=True)
    assert told(elsewhere) == told(usher)
    for user in told(usher):
        entries = [one.state for one in elsewhere.requests.of(user) if one.role is None]
        assert (State.OPEN in entries) is (user.waiting_since is not None)


@settings(
    max_examples=examples(20),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(st.one_of(DELIVERIES, ODD), max_size=20))
def test_events_alone_played_back_give_the_same_users(
    usher: App, elsewhere: App, clock: Clock, steps: list[tuple[object, ...]]
) -> None:
    """Where no administrator did anything."""
    empty(usher)
    empty(elsewhere)
    clock.now = NOON
    for step in steps:
        live(usher, clock, step)
    played(usher, elsewhere, with_acts=False)
    assert told(elsewhere) == told(usher)


def test_what_was_played_back_is_marked(usher: App, elsewhere: App) -> None:
    """In the ledger, for ever."""
    deliver(usher, [signed("signup", account(user_id=uuid4())), raw(b"[]")])
    played(usher, elsewhere, with_acts=True)
    assert {d.origin for d in usher.store.ledger.page().items} == {"live"}
    assert {d.origin for d in elsewhere.store.ledger.page().items} == {"replay"}
