"""The connections of a process: how many, whose, for how long, and what ends them."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from typing import Any

import pytest
from sqlalchemy import text

from tests.pipeline.test_outage import statuses
from tests.server.outages import wait_until
from tests.store.store_support import counts, deliver, end_sleepers, execute
from tests.support import ROOT, Clock, account, clean_environment, signed
from usher.core.app import App
from usher.core.errors import DatabaseAwayError, DatabaseError
from usher.core.settings import Settings
from usher.core.store import pool
from usher.core.store.database import Database
from usher.core.store.drivers import postgresql
from usher.core.store.drivers.pipeline import RECYCLE_SECONDS
from usher.core.store.pool import IDLE_CONNECTIONS, MAX_CONNECTIONS
from usher.core.store.statements import REMOVE_DELIVERIES, REPLIES

ENDLESS = {
    "sqlite": "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT 1 FROM n) SELECT sum(x) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
}
FORK = """
import os, sys
from usher.core.store.database import Database
from usher.core.store.counters import OversizedTable
database = Database(sys.argv[1])
table = OversizedTable(database)
table.add({"2026-03-02:before": 1})
child = os.fork()
table.add({"2026-03-02:after": 1})
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
table.add({"2026-03-02:parent": 1})
print(sorted(table.since("2026-03-02").items()))
"""


FORK_WITHIN = """
import os, sys
from usher.core.store.database import Database
database = Database(sys.argv[1])
with database.read() as transaction:
    child = os.fork()
    if not child:
        database.interrupt(0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    print(transaction.sql.exec_driver_sql("SELECT 7").scalar_one())
"""


@pytest.fixture
def database(usher: App) -> Database:
    """Either database, with all tables."""
    return usher.store.database


@pytest.fixture
def make_app(make_settings: Callable[..., Settings], clock: Clock) -> Iterator[Callable[..., App]]:
    """Make an App on a database."""
    with ExitStack() as stack:

        def make(url: str) -> App:
            app = App(make_settings(database_url=url), clock)
            stack.callback(app.close)
            return app

        yield make


@pytest.fixture
def on_postgresql(postgresql_url: str) -> Iterator[Database]:
    """PostgreSQL alone."""
    opened = Database(postgresql_url)
    yield opened
    opened.dispose()


def idle(database: Database) -> list[Any]:
    """The connections that nobody uses."""
    return database._pool._idle


def test_one_connection_serves_one_transaction_after_the_other(database: Database) -> None:
    """The one used last comes first: its caches are warm."""
    counts(database)
    (first,) = idle(database)
    with database.read() as one, database.read():
        assert one._connection is first
        assert idle(database) == []
    counts(database)
    assert first in idle(database)
    assert len(idle(database)) == 2


def test_there_are_only_so_many_connections(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another transaction waits, then is refused; afterwards a few are kept."""
    monkeypatch.setattr(pool, "POOL_TIMEOUT_SECONDS", 0.05)
    with ExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(database.read())
        with pytest.raises(DatabaseAwayError, match="all connections are in use"), database.read():
            pass
    assert len(idle(database)) == IDLE_CONNECTIONS
    assert counts(database)["users"] == 0


def test_a_transaction_that_waits_for_a_connection_gets_the_next_one(database: Database) -> None:
    """As soon as it is given back."""
    with ExitStack() as stack, ThreadPoolExecutor(1) as threads:
        for _ in range(MAX_CONNECTIONS):
            stack.enter_context(database.read())
        waiting = threads.submit(counts, database)
        stack.close()
        assert waiting.result(30)["users"] == 0


def test_an_old_connection_is_replaced(on_postgresql: Database) -> None:
    """That of a function that was frozen may be dead, without anybody having noticed."""
    counts(on_postgresql)
    (old,) = idle(on_postgresql)
    old.born -= RECYCLE_SECONDS + 1
    counts(on_postgresql)
    (new,) = idle(on_postgresql)
    assert new is not old
    assert old.session.broken


def test_what_is_in_use_when_all_are_closed_is_closed_afterwards(database: Database) -> None:
    """A file that is gone, a server that turned read-only: no connection to it stays."""
    with database.read() as transaction:
        database.dispose()
        assert transaction.sql.execute(text("SELECT 1")).scalar_one() == 1
    assert idle(database) == []


def test_a_forked_process_leaves_its_parents_connections_alone(
    database_url: str, usher: App
) -> None:
    """Both go on, each with its own."""
    environment = clean_environment(PYTHONPATH=str(ROOT))
    done = subprocess.run(
        [sys.executable, "-c", FORK, database_url],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [("2026-03-02:after", 2), ("2026-03-02:before", 1), ("2026-03-02:parent", 1)]
    assert done.stdout.strip() == str(expected)


def test_a_forked_process_interrupts_no_transaction_of_its_parent(database_url: str) -> None:
    """They share the connection's socket."""
    done = subprocess.run(
        [sys.executable, "-c", FORK_WITHIN, database_url],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "7\n"


def test_a_connection_that_came_back_too_late_to_be_closed_is_not_used(database: Database) -> None:
    """It may be open on a file that is gone."""
    counts(database)
    (old,) = idle(database)
    idle(database).clear()
    database.dispose()
    idle(database).append(old)
    counts(database)
    assert old not in idle(database)


def test_a_connection_that_comes_back_as_all_are_closed_is_closed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread closes them between the look and the place among the idle ones."""

    class Slow(list[Any]):
        """A list to which something is added only after all of it was closed."""

        def append(self, one: Any) -> None:
            database.dispose()
            super().append(one)

    monkeypatch.setattr(database._pool, "_idle", Slow())
    counts(database)
    assert idle(database) == []
    assert database._pool._open == 0


def test_a_transaction_that_was_rolled_back_leaves_the_next_one_nothing(
    database: Database,
) -> None:
    """Neither what was sent afterwards nor what was not asked for any more."""
    with database.write() as transaction:
        transaction.rollback()
        transaction.send(REMOVE_DELIVERIES, ["a" * 72])
        transaction.ask(REPLIES, ["a" * 72])
    with database.write() as transaction:
        assert transaction.fetch(REPLIES, ["a" * 72]) == []


def test_an_interrupt_that_comes_too_late_reaches_nobody(on_postgresql: Database) -> None:
    """The number of a closed socket may be that of another one."""
    session = on_postgresql.driver.connect()
    session.close()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session.interrupt()
        ours.send(b"still open")
        assert theirs.recv(20) == b"still open"


def test_what_takes_too_long_is_interrupted_from_another_thread(database: Database) -> None:
    """It fails as if the database were away, and the next transaction works."""
    begun = Event()

    def wait() -> None:
        with database.read() as transaction:
            begun.set()
            transaction.sql.execute(text(ENDLESS[database.driver.name]))

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(wait)
        assert begun.wait(30)

        def ended() -> bool:
            database.interrupt(0)
            return waiting.done()

        wait_until(ended)
        with pytest.raises(DatabaseAwayError):
            waiting.result()
    assert counts(database)["users"] == 0
    database.interrupt(0)  # nothing runs
    if database.driver.name == "postgresql":
        end_sleepers(database)


def test_a_transaction_that_somebody_stops_leaves_nothing(database: Database) -> None:
    """Ctrl-C anywhere: the connection is in no known state, and is closed."""
    with pytest.raises(KeyboardInterrupt):
        stop(database)
    assert idle(database) == []
    assert counts(database)["users"] == 0


def stop(database: Database) -> None:
    """As Ctrl-C does."""
    with database.write() as transaction:
        transaction.sql.execute(text("DELETE FROM counters"))
        raise KeyboardInterrupt


def test_sqlalchemy_sees_what_the_transaction_has_done_and_ends_with_it(usher: App) -> None:
    """It is one transaction, in whatever order."""
    database = usher.store.database
    deliver(usher, [signed("signup", account())])
    count = text("SELECT count(*) FROM users")
    with database.write() as transaction:
        transaction.sql.execute(text("DELETE FROM users"))
        assert transaction.sql.execute(count).scalar_one() == 0
        assert usher.store.users.load(transaction, [usher_key(usher)]) == {}
        transaction.rollback()
    assert counts(database)["users"] == 1


def usher_key(app: App) -> Any:
    """The key of the only user."""
    (user,) = app.store.users.page().items
    return user.instance_id, user.id


def test_an_error_of_sqlalchemy_itself_is_one_of_the_database(database: Database) -> None:
    """Callers know ours alone."""
    with pytest.raises(DatabaseError, match="No row was found"), database.read() as transaction:
        transaction.sql.execute(text("SELECT id FROM users")).one()


@pytest.mark.parametrize("command", ["DEALLOCATE ALL", "DISCARD ALL"])
def test_a_session_whose_prepared_statements_are_gone_is_replaced(
    postgresql_url: str, make_app: Callable[..., App], command: str
) -> None:
    """The event is tried again on a new connection; nobody notices."""
    app = make_app(postgresql_url)
    signups = [signed("signup", account(email=f"{n}@example.com")) for n in range(2)]
    assert statuses(deliver(app, signups[:1])) == [200]
    (kept,) = idle(app.store.database)
    kept.session.raw.execute(command)
    assert statuses(deliver(app, signups[1:])) == [200]
    assert counts(app.store.database)["users"] == 2
    assert kept not in idle(app.store.database)


def test_a_session_whose_prepared_statements_no_longer_fit_is_replaced(
    postgresql_url: str, make_app: Callable[..., App]
) -> None:
    """A column's type was changed beside us."""
    app = make_app(postgresql_url)
    signups = [signed("signup", account(email=f"{n}@example.com")) for n in range(2)]
    assert statuses(deliver(app, signups[:1])) == [200]
    execute(app.store.database, "ALTER TABLE deliveries ALTER reply_type TYPE varchar(300)")
    try:
        assert statuses(deliver(app, signups[1:])) == [200]
    finally:
        execute(app.store.database, "ALTER TABLE deliveries ALTER reply_type TYPE text")
    assert counts(app.store.database)["users"] == 2


@pytest.fixture
def many_files_open() -> Iterator[None]:
    """The next file has a number over 1024."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, before[1]), before[1]))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1_100)]
    try:
        yield
    finally:
        for one in opened:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files_open")
def test_large_rows_are_sent_by_a_process_with_many_connections(usher: App) -> None:
    """A server takes 8,192 of them."""
    usher.store.database.dispose()
    people = [account(user_metadata={"text": "x" * 60_000}) for _ in range(10)]
    assert statuses(deliver(usher, [signed("signup", one) for one in people])) == [200] * 10


def test_no_more_statements_are_prepared_than_a_session_should_hold(
    postgresql_url: str, make_app: Callable[..., App], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others run all the same."""
    monkeypatch.setattr(postgresql, "MAX_PREPARED", 2)
    app = make_app(postgresql_url)
    assert statuses(deliver(app, [signed("signup", account())])) == [200]
    (kept,) = idle(app.store.database)
    found = kept.session.raw.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert found == (2,)


def test_rows_of_any_size_are_sent_and_read(usher: App) -> None:
    """More than a socket takes at once, in both directions."""
    database = usher.store.database
    people = [account(user_metadata={"text": str(n) + "x" * 30_000}) for n in range(40)]
    sent = [signed("signup", person) for person in people]
    deliver(usher, sent)
    stored = {one.body for one in usher.store.ledger.page(limit=200).items}
    assert stored == {one.body for one in sent}
    keys = [(user.instance_id, user.id) for user in usher.store.users.page(limit=200).items]
    with database.write() as transaction:
        found = usher.store.users.load(transaction, keys).values()
    assert {len(user.user_metadata["text"]) for user in found} == {30_001, 30_002}
    ids = [f"{number:064}" for number in range(20_000)]
    with database.read() as transaction:
        assert transaction.fetch(REPLIES, ids) == []


@pytest.mark.parametrize("key", ['a"b', "a\\b", "a,b", "{}", "NULL", "", "ä\n"])
def test_any_text_may_stand_in_a_list(usher: App, key: str) -> None:
    """An imported delivery's id is whatever a file says."""
    deliver(usher, [signed("signup", account())])
    quoted = key.replace("'", "''")
    execute(usher.store.database, f"UPDATE deliveries SET id = '{quoted}'")
    with usher.store.database.read() as transaction:
        assert [row[0] for row in transaction.fetch(REPLIES, ["other", key])] == [key]
