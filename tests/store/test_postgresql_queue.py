"""PostgreSQL gets the rows of a transaction one after the other, without a wait for each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from sqlalchemy import Connection

from tests.pipeline.outage_support import locked
from tests.pipeline.test_outage import statuses
from tests.store.store_support import counts, deliver, rows
from tests.support import NOON, account, signed
from usher.core.app import App
from usher.core.errors import ConflictError
from usher.core.store.bulk_insert import BulkInsert
from usher.core.store.database import Database
from usher.core.store.tables import PushRow

INTO_PUSHES = BulkInsert(PushRow.__table__)  # type: ignore[attr-defined]


@pytest.fixture
def database_url(postgresql_url: str) -> str:
    """PostgreSQL alone."""
    return postgresql_url


@pytest.fixture
def database(usher: App) -> Database:
    """Its database, with all tables."""
    return usher.store.database


def push(user_id: UUID) -> dict[str, object]:
    """A row."""
    moments = {"since": NOON, "next_try_at": NOON + timedelta(1)}
    return {
        "instance_id": UUID(int=0), "user_id": user_id, **moments,
        "tries": 0, "lease": None, "error": "",
    }  # fmt: skip


def insert(
    database: Database,
    *pushes: dict[str, object],
    then: Callable[[Connection], object] | None = None,
) -> object:
    """Rows by a statement each, then something else, in one transaction."""
    with database.write() as connection:
        for one in pushes:
            INTO_PUSHES.execute(connection, [one])
        return then(connection) if then else None


def count(connection: Connection) -> int:
    """How many rows there are."""
    return int(connection.exec_driver_sql("SELECT count(*) FROM pushes").scalar_one())


def test_a_row_is_sent_without_a_wait_and_the_commit_waits(
    database: Database, postgresql_url: str
) -> None:
    """The table is locked until the row is on its way: whoever waited for it would wait in vain."""
    with locked(postgresql_url, "pushes") as other:
        insert(database, push(uuid4()), then=lambda _: other.rollback())
    assert insert(database, then=count) == 1


def test_a_row_that_is_there_already_fails_the_commit_at_the_latest(database: Database) -> None:
    """Nothing of the transaction stays, and the connection serves on."""
    known = push(uuid4())
    insert(database, known)
    with pytest.raises(ConflictError, match="UniqueViolation"):
        insert(database, push(uuid4()), known)
    assert rows(database, "SELECT user_id FROM pushes") == [(known["user_id"],)]
    assert insert(database, push(uuid4()), then=count) == 2


def test_what_reads_after_a_row_sees_it_or_is_told_its_failure(database: Database) -> None:
    """In the order in which they were sent."""
    known = push(uuid4())
    assert insert(database, known, then=count) == 1
    read: list[int] = []
    with pytest.raises(ConflictError, match="UniqueViolation"):
        insert(
            database, known, push(uuid4()), then=lambda connection: read.append(count(connection))
        )
    assert read == []


def test_an_error_of_ours_is_told_and_not_that_of_a_row_on_its_way(
    database: Database, postgresql_url: str
) -> None:
    """And the connection serves on."""
    known = push(uuid4())
    insert(database, known)
    with locked(postgresql_url, "pushes") as other:

        def fail(_: Connection) -> None:
            other.rollback()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            insert(database, known, then=fail)
    assert insert(database, then=count) == 1


def test_an_event_whose_connection_broke_while_at_rest_is_stored(usher: App) -> None:
    """It is tried again on a new one."""
    database = usher.store.database
    with database.read() as connection:
        driver: Any = connection.connection.driver_connection
    driver.close()
    assert statuses(deliver(usher, [signed("signup", account())])) == [200]
    assert counts(database)["deliveries"] == 1


def test_an_event_whose_connection_broke_after_the_commit_gets_its_answer(
    usher: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the delivery that is stored, which has one effect."""
    end = psycopg.Pipeline.__exit__
    broken: list[object] = []

    def break_once(self: psycopg.Pipeline, *raised: Any) -> None:
        end(self, *raised)
        if not broken:
            broken.append(self)
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(psycopg.Pipeline, "__exit__", break_once)
    assert statuses(deliver(usher, [signed("signup", account())])) == [200]
    assert broken
    assert counts(usher.store.database) == {
        "users": 1, "grants": 2, "deliveries": 1, "audit": 1,
    }  # fmt: skip
