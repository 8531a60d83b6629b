"""Several instances of the functions on one PostgreSQL: one event has one effect."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.netlify.bootstrapped import bootstrapped, inside
from tests.netlify.functions import Functions
from tests.netlify.lines import proxy
from tests.pgbouncer import PROGRAM, pgbouncer
from tests.pipeline.outage_support import locked
from tests.store.store_support import counts, rows
from tests.store.test_pgbouncer import PREPARED, SERVER_CONNECTIONS, SHOWN, all_sessions
from tests.support import WAIT_SECONDS, Signed, account, signed
from usher.core.store.database import Database
from usher.emulator.payload import Account

ROLES = {"provider": "email", "roles": ["member"]}
TRIES = 3
"""How often Identity sends an event that is answered 5xx."""


@pytest.fixture(scope="module")
def instances(
    site: Path, postgresql_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Functions]]:
    """Four processes."""
    with ExitStack() as stack:
        url = inside(postgresql_server)
        yield [
            stack.enter_context(bootstrapped(site, tmp_path_factory, {"USHER_DATABASE_URL": url}))
            for _ in range(4)
        ]


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    """The tests' own eyes."""
    found = Database(postgresql_url)
    yield found
    found.dispose()


def just_now(event: str, who: Account, **before: float) -> Signed:
    """An event signed now, or so long ago."""
    return signed(event, who, at=datetime.now(UTC) - timedelta(**before))


def at_once(instances: list[Functions], events: list[Signed]) -> list[int]:
    """Hand each instance one event before any has answered; their statuses."""
    for instance, event in zip(instances, events, strict=True):
        instance.send(headers=event.headers, body=event.body)
    return [instance.take()[1].status for instance in instances]


def until(database: Database, statement: str) -> None:
    """Wait until a query finds something."""
    deadline = monotonic() + WAIT_SECONDS
    while not rows(database, statement):
        assert monotonic() < deadline, statement
        sleep(0.02)


BUSY = (
    "SELECT 1 FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()"
)
WAITS_FOR_A_LOCK = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


def test_three_equal_signups_at_once_have_one_effect(
    instances: list[Functions], database: Database
) -> None:
    """By processes that start for it, and again by processes that are there."""
    for number in (1, 2):
        event = just_now("signup", account(email=f"{number}@example.com"))
        assert at_once(instances[:3], [event] * 3) == [200, 200, 200]
        found = counts(database)
        assert (found["users"], found["deliveries"]) == (number, number)


def test_four_logins_of_one_person_at_once_are_all_kept(
    instances: list[Functions], database: Database
) -> None:
    """Four events, none lost, on one record."""
    who = account()
    assert instances[0].deliver(just_now("signup", who)).status == 200
    logins = [just_now("login", who, seconds=number) for number in range(1, 5)]
    assert at_once(instances, logins) == [200] * 4
    found = counts(database)
    assert (found["users"], found["deliveries"]) == (1, 5)


def test_an_event_waits_for_a_row_that_is_locked_and_gives_up_in_time(
    instances: list[Functions], database: Database, postgresql_url: str
) -> None:
    """503 while it stays locked, within Identity's patience; 200 once it is free."""
    who = account()
    first, second = instances[:2]
    assert first.deliver(just_now("signup", who)).status == 200
    event, other = just_now("login", who), just_now("login", who, seconds=9)
    with locked(postgresql_url, "users", "EXCLUSIVE"):
        told = first.deliver(event)  # the lock is held until it has answered
        assert (told.status, told.document["code"]) == (503, "database_unavailable")
        second.send(headers=other.headers, body=other.body)
        until(database, WAITS_FOR_A_LOCK)
    statuses = [second.take()[1].status]
    while statuses[-1] != 200 and len(statuses) < TRIES:  # a machine that is slow to unlock
        statuses.append(second.deliver(other).status)
    assert statuses[-1] == 200
    assert first.deliver(event).status == 200
    assert counts(database)["deliveries"] == 3


def test_a_frozen_instance_whose_lines_were_cut_serves_the_next_event(
    instances: list[Functions], database: Database
) -> None:
    """As platforms freeze a process between two events, for minutes."""
    (instance, *_) = instances
    who = account()
    assert instance.deliver(just_now("signup", who)).status == 200
    os.kill(instance.pid, signal.SIGSTOP)
    try:
        ended = rows(
            database,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'",
        )
        assert ended
    finally:
        os.kill(instance.pid, signal.SIGCONT)
    assert instance.deliver(just_now("login", who)).status == 200
    assert counts(database)["deliveries"] == 2


def test_a_line_that_died_in_silence_costs_one_answer_and_none_after_a_rest(
    site: Path,
    postgresql_url: str,
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """503, and Identity's next try is served; a line that rested long is not even tried."""
    start = datetime.now(UTC)
    who = account()
    with proxy(postgresql_url) as line:
        url = f"postgresql://postgres@127.0.0.1:{line.port}/postgres?sslmode=disable"
        with bootstrapped(site, tmp_path_factory, {"USHER_DATABASE_URL": url}) as instance:

            def deliver(event: str, seconds: int) -> int:
                at = start + timedelta(seconds=seconds)
                clock = int(at.timestamp() * 1000)
                return instance.deliver(signed(event, who, at=at), clock=clock).status

            assert deliver("signup", 0) == 200
            assert line.lines == 1
            line.swallow()
            assert deliver("login", 15) == 503
            assert deliver("login", 15) == 200
            assert line.lines == 2
            line.swallow()
            assert deliver("login", 36) == 200
            assert line.lines == 3
    assert counts(database)["deliveries"] == 3


def test_a_commit_whose_answer_is_lost_has_one_effect(
    site: Path,
    postgresql_url: str,
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The event is answered 503 and was stored: its retry gets the stored answer."""
    event = just_now("signup", account())
    with proxy(postgresql_url) as line:
        url = f"postgresql://postgres@127.0.0.1:{line.port}/postgres?sslmode=disable"
        with bootstrapped(site, tmp_path_factory, {"USHER_DATABASE_URL": url}) as instance:
            first = just_now("signup", account(email="first@example.com"))
            assert instance.deliver(first).status == 200
            line.swallows_writes = True
            assert instance.deliver(event).status == 503
            assert counts(database)["deliveries"] == 2
            line.swallows_writes = False
            told = instance.deliver(event)
            assert (told.status, told.document) == (200, {"app_metadata": ROLES})
    found = counts(database)
    assert (found["users"], found["deliveries"]) == (2, 2)


@pytest.mark.parametrize(("table", "written"), [("users", 0), ("audit", 1)])
def test_killed_in_the_middle_of_an_event_nothing_is_half_written(
    table: str,
    written: int,
    site: Path,
    instances: list[Functions],
    postgresql_url: str,
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """By SIGKILL, as it reads, or with the record written and the audit not; a retry is one."""
    event = just_now("signup", account())
    url = inside(postgresql_url)
    with bootstrapped(site, tmp_path_factory, {"USHER_DATABASE_URL": url}) as instance:
        assert instance.ask("/api/health", "GET").status == 200
        with locked(postgresql_url, table):
            instance.send(headers=event.headers, body=event.body)
            until(database, WAITS_FOR_A_LOCK)
            os.kill(instance.pid, signal.SIGKILL)
    until(database, f"SELECT 1 WHERE NOT EXISTS ({BUSY})")
    found = counts(database)
    assert {found[name] for name in ("users", "grants", "deliveries", "audit")} == {written}
    told = instances[0].deliver(event)
    assert (told.status, told.document) == (200, {"app_metadata": ROLES})
    found = counts(database)
    assert (found["users"], found["deliveries"]) == (1, 1)


@pytest.mark.skipif(PROGRAM is None, reason="NOT RUN: this needs pgbouncer")
def test_behind_pgbouncer_no_setting_and_no_statement_is_left(
    site: Path,
    postgresql_url: str,
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Transaction pooling: others on the same server connections keep theirs."""
    with pgbouncer(postgresql_url, SERVER_CONNECTIONS) as pooled:
        theirs = all_sessions(pooled, SHOWN)
        url = inside(pooled) + "?sslmode=disable"
        with bootstrapped(site, tmp_path_factory, {"USHER_DATABASE_URL": url}) as instance:
            people = [account(email=f"{number}@example.com") for number in range(8)]
            events = [just_now("signup", who) for who in people]
            logins = [just_now("login", who) for who in people]
            answers = [instance.deliver(event) for event in (*events, *events, *logins)]
            assert {answer.status for answer in answers} == {200}
        assert all_sessions(pooled, SHOWN) == theirs
        assert all_sessions(pooled, PREPARED) == [[]] * SERVER_CONNECTIONS
    found = counts(database)
    assert (found["users"], found["deliveries"]) == (8, 16)
