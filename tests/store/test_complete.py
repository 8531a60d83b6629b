"""A reader who goes on from the last complete row misses none, in whatever order they commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.pgbouncer import PROGRAM, pgbouncer
from tests.store.grants import ROLE, least_privileged, plain
from tests.store.store_support import deliver, rows
from tests.support import NOON, Clock, account, signed
from usher.core.app import App
from usher.core.settings import Settings
from usher.core.store.complete import Complete, Writer, roles_of
from usher.core.store.database import Database
from usher.core.store.tables import DELIVERIES

ENTRY = (
    "INSERT INTO audit (instance_id, user_id, at, actor, action, after, reason)"
    " VALUES (%s, %s, %s, 'test', 'user.changed', '{}', '') RETURNING sequence"
)
LONG = 60.0
"""Seconds: waited for only where something is wrong."""


class Open:
    """A transaction of PostgreSQL that is open."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.pid = connection.info.backend_pid

    def write(self) -> int:
        """Write an entry, whose number is returned."""
        row = self.connection.execute(ENTRY, (uuid4(), uuid4(), NOON)).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def opened(url: str) -> Iterator[Open]:
    """A session of its own; what it did not commit is undone."""
    with closing(psycopg.connect(plain(url))) as connection:
        yield Open(connection)


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    """PostgreSQL."""
    database = Database(postgresql_url)
    yield database
    database.dispose()


def numbers(database: Database, after: int, up_to: int) -> list[int]:
    """The entries that a reader sees."""
    found = rows(
        database,
        "SELECT sequence FROM audit WHERE sequence > :after AND sequence <= :up_to ORDER BY 1",
        after=after,
        up_to=up_to,
    )
    return [number for (number,) in found]


def test_of_two_interleaved_transactions_the_first_is_waited_for(
    postgresql_url: str, database: Database
) -> None:
    """Its number is smaller, its commit the later one."""
    complete = Complete(database)
    assert complete.up_to() == 0
    with opened(postgresql_url) as first, opened(postgresql_url) as second:
        early, late = first.write(), second.write()
        assert early < late
        second.connection.commit()
        assert numbers(database, 0, late) == [late]
        assert complete.up_to(0) == 0
        assert [writer.pid for writer in complete.awaited] == [first.pid]
        first.connection.commit()
        assert complete.up_to(LONG) == late
        assert complete.awaited == ()
        assert numbers(database, 0, late) == [early, late]


def test_a_transaction_that_is_rolled_back_is_waited_for_no_longer(
    postgresql_url: str, database: Database
) -> None:
    """Its number is never there."""
    complete = Complete(database)
    with opened(postgresql_url) as first, opened(postgresql_url) as second:
        first.write()
        late = second.write()
        second.connection.commit()
        assert complete.up_to(0) is None  # nothing is known of the time before
        first.connection.rollback()
        assert complete.up_to(LONG) == late
        assert numbers(database, 0, late) == [late]


def test_a_writer_that_begins_later_keeps_nothing_back(
    postgresql_url: str, database: Database
) -> None:
    """Its number is greater; what it wrote becomes complete when it ends."""
    complete = Complete(database)
    with opened(postgresql_url) as one, opened(postgresql_url) as next_one:
        first = one.write()
        one.connection.commit()
        one.write()
        assert complete.up_to(0) is None
        later = next_one.write()
        one.connection.commit()
        assert complete.up_to(0) == first
        next_one.connection.commit()
        assert complete.up_to(LONG) == later


def test_transactions_that_overlap_for_ever_keep_nothing_back(
    postgresql_url: str, database: Database
) -> None:
    """There is no moment without a writer, and the reader comes on."""
    complete, seen = Complete(database), []
    with opened(postgresql_url) as one, opened(postgresql_url) as other:
        one.write()
        for ending, beginning in [(one, other), (other, one)] * 3:
            beginning.write()
            ending.connection.commit()
            seen.append(complete.up_to(0))
    assert seen == [None, 1, 2, 3, 4, 5]


def test_a_foreign_session_that_holds_its_lock_keeps_back_what_is_newer(
    postgresql_url: str, database: Database
) -> None:
    """The wait is bounded, and it can be told whose session that is."""
    complete = Complete(database)
    with opened(postgresql_url) as foreign, opened(postgresql_url) as ours:
        known = ours.write()
        ours.connection.commit()
        assert complete.up_to(LONG) == known
        foreign.connection.execute("DELETE FROM audit WHERE sequence = -1")
        ours.write()
        ours.connection.commit()
        for _ in range(3):
            assert complete.up_to(0.01) == known
        assert [writer.pid for writer in complete.awaited] == [foreign.pid]
        assert roles_of(database, complete.awaited) == {foreign.pid: foreign.connection.info.user}
        assert Complete(database).up_to(0.01) is None


def test_locks_that_write_no_entry_are_not_waited_for(
    postgresql_url: str, database: Database
) -> None:
    """Readers, a backup, rows that are locked, and the table of the same name elsewhere."""
    locks = ("ACCESS SHARE", "ROW SHARE", "SHARE UPDATE EXCLUSIVE")
    with opened(postgresql_url) as ours, opened(postgresql_url) as other:
        known = ours.write()
        ours.connection.commit()
        for mode in locks:
            other.connection.execute(f"LOCK TABLE audit IN {mode} MODE".encode())
        other.connection.execute("LOCK TABLE deliveries IN ROW EXCLUSIVE MODE")
        other.connection.execute("CREATE TEMPORARY TABLE other (LIKE audit)")
        assert Complete(database).up_to(0) == known


def test_a_prepared_transaction_is_waited_for(
    postgresql_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name is another one from then on, and it has no session."""
    seen: list[tuple[Writer, ...]] = [
        (Writer("3/14", 4711),),
        (Writer("-1/99", None),),
        (Writer("4/15", 4712),),
    ]
    with opened(postgresql_url) as ours:
        known = ours.write()
        ours.connection.commit()
    monkeypatch.setattr(Complete, "_writers", lambda *_: seen.pop(0))
    complete = Complete(database)
    assert complete.up_to(0) is None
    assert complete.up_to(0) is None
    assert [writer.pid for writer in complete.awaited] == [None]
    assert roles_of(database, complete.awaited) == {}
    assert complete.up_to(0) == known


def test_rows_that_a_failover_lost_are_no_longer_known(
    postgresql_url: str, database: Database
) -> None:
    """Their numbers may come again."""
    complete = Complete(database)
    with opened(postgresql_url) as ours:
        kept, lost = ours.write(), ours.write()
        ours.connection.commit()
        assert complete.up_to(LONG) == lost
        ours.connection.execute("DELETE FROM audit WHERE sequence = %s", (lost,))
        ours.connection.commit()
        assert complete.up_to(LONG) == kept


def test_the_least_privileged_role_is_enough(postgresql_url: str) -> None:
    """It sees the transactions of others, and as whom they are connected."""
    with opened(postgresql_url) as first, opened(postgresql_url) as second:
        first.write()
        late = second.write()
        second.connection.commit()
        with least_privileged(postgresql_url) as url:
            database = Database(url)
            complete = Complete(database)
            assert rows(database, "SELECT current_user") == [(ROLE,)]
            assert complete.up_to(0) is None
            assert roles_of(database, complete.awaited) == {first.pid: first.connection.info.user}
            first.connection.commit()
            assert complete.up_to(LONG) == late
            database.dispose()


@pytest.mark.skipif(PROGRAM is None, reason="NOT RUN: this needs pgbouncer")
def test_a_pooler_is_no_hindrance(postgresql_url: str) -> None:
    """The writers and the reader share its three connections."""
    with pgbouncer(postgresql_url) as pooled:
        database = Database(pooled)
        complete = Complete(database)
        with opened(pooled) as first, opened(pooled) as second:
            first.write()
            late = second.write()
            second.connection.commit()
            assert complete.up_to(0) is None
            assert len(complete.awaited) == 1
            first.connection.commit()
            assert complete.up_to(LONG) == late
        database.dispose()


def test_a_reader_beside_many_writers_sees_each_entry_once_and_in_order(
    database_url: str, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    """Signups through the pipeline, from four threads, read while they come."""
    people = [account(email=f"{number}@example.com") for number in range(120)]
    over = Event()

    def write(part: int) -> None:
        app = App(make_settings(database_url=database_url), clock)
        for one in people[part::4]:
            deliver(app, [signed("signup", one)])
        app.close()

    def read(database: Database) -> list[int]:
        complete, seen, position = Complete(database), list[int](), 0
        last = False
        while not last:
            last = over.is_set()
            up_to = complete.up_to(LONG if last else 0.01) or 0
            seen += numbers(database, position, up_to)
            position = max(position, up_to)
        return seen

    app = App(make_settings(database_url=database_url), clock)
    deliver(app, [signed("signup", account())])  # the instance is known from here on
    database = Database(database_url)
    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(read, database)
        try:
            list(pool.map(write, range(4)))
        finally:
            over.set()
        seen = reader.result()
    assert seen == numbers(database, 0, 2**62)
    assert len(seen) > len(people)
    assert Complete(database, DELIVERIES).up_to(LONG) == app.store.ledger.newest_sequence()
    database.dispose()
    app.close()
