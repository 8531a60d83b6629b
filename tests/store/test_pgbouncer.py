"""Behind PgBouncer with transaction pooling: no statement and no setting is left in a session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psycopg
import pytest
from msgspec.structs import replace
from sqlalchemy import text
from sqlalchemy.engine import make_url

from tests.pgbouncer import PROGRAM, pgbouncer
from tests.store.store_support import counts, deliver
from tests.support import Clock, account, signed
from usher.core.app import App
from usher.core.domain.reply import Reply
from usher.core.settings import Settings
from usher.core.store.database import Database

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="NOT RUN: this needs pgbouncer")

SERVER_CONNECTIONS = 3
CLIENTS = 16
EVENTS = 8
"""Signups of each client."""
SHOWN = "SELECT name, setting FROM pg_settings WHERE name IN ('lock_timeout', 'jit')"
PREPARED = "SELECT statement FROM pg_prepared_statements"


@pytest.fixture(params=["psycopg", "pg8000"])
def driver(request: pytest.FixtureRequest) -> str:
    """Each driver."""
    name: str = request.param
    return name


@pytest.fixture
def direct_url(postgresql_url: str, driver: str) -> str:
    """PostgreSQL itself."""
    return postgresql_url.replace("+psycopg", f"+{driver}")


@pytest.fixture
def pooled_url(postgresql_url: str, driver: str) -> Iterator[str]:
    """PostgreSQL behind PgBouncer."""
    with pgbouncer(postgresql_url, SERVER_CONNECTIONS) as url:
        yield url.replace("+psycopg", f"+{driver}") + "?sslmode=disable"


def plain(url: str) -> str:
    """The URL for psycopg."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def all_sessions(url: str, statement: str) -> list[list[tuple[object, ...]]]:
    """The answer of each server connection of the pooler: all are held at once."""
    with ExitStack() as stack:
        held = [
            stack.enter_context(psycopg.connect(plain(url), prepare_threshold=None))
            for _ in range(SERVER_CONNECTIONS)
        ]
        return [one.execute(statement).fetchall() for one in held]


def test_i1_a_pooler_is_recognised(pooled_url: str, direct_url: str) -> None:
    """It answers with the key of a session of its own making."""
    for url, pooled in ((pooled_url, True), (direct_url, False)):
        database = Database(url)
        assert database.pooled() is pooled
        database.dispose()


def test_i1_settings_hold_in_our_transactions_and_nowhere_else(
    pooled_url: str, direct_url: str
) -> None:
    """Others on the same server connections keep theirs."""
    theirs = all_sessions(pooled_url, SHOWN)
    for url in (pooled_url, direct_url):
        database = Database(url)
        for begin in (database.read, database.write):
            with begin() as transaction:
                found = {str(name): value for name, value in transaction.sql.execute(text(SHOWN))}
            assert found == {"lock_timeout": "2000", "jit": "off"}
        database.dispose()
    assert all_sessions(pooled_url, SHOWN) == theirs


def test_i1_every_event_is_taken_behind_a_pooler(
    pooled_url: str, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    """Sixteen clients, each with a connection of its own, on three to the server."""
    people = [account(email=f"{number}@example.com") for number in range(CLIENTS * EVENTS)]

    def client(number: int) -> list[int]:
        app = App(make_settings(database_url=pooled_url), clock)
        mine = people[number::CLIENTS]
        signups = [signed("signup", one) for one in mine]
        logins = [signed("login", replace(one, app_metadata={"roles": ["x"]})) for one in mine]
        statuses = [
            reply.status
            for delivery in (*signups, *signups, *logins)
            for reply in deliver(app, [delivery])
            if isinstance(reply, Reply)
        ]
        app.close()
        return statuses

    with ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(client, range(CLIENTS)))
    assert [len(one) for one in found] == [3 * EVENTS] * CLIENTS
    assert {status for one in found for status in one} == {200}
    database = Database(pooled_url)
    stored = counts(database)
    assert (stored["users"], stored["deliveries"]) == (len(people), 2 * len(people))
    database.dispose()
    assert all_sessions(pooled_url, PREPARED) == [[]] * SERVER_CONNECTIONS
