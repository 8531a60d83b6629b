"""PostgreSQL gets the rows of a transaction one after the other, without a wait for each."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.pipeline.outage_support import locked
from tests.pipeline.test_outage import statuses
from tests.store.store_support import counts, deliver, rows
from tests.support import NOON, account, databases, signed
from usher.core.app import App
from usher.core.errors import ConflictError
from usher.core.store.database import Database, Transaction
from usher.core.store.drivers import Fault
from usher.core.store.drivers.pipeline import ExchangeError, PipelineSession
from usher.core.store.statements import INTO_PUSHES
from usher.core.store.values import time_text

database_url = databases("postgresql", "pg8000")


@pytest.fixture
def database(usher: App) -> Database:
    """Its database, with all tables."""
    return usher.store.database


def push(user_id: UUID) -> tuple[object, ...]:
    """A row."""
    since, until = time_text(NOON), time_text(NOON + timedelta(1))
    return UUID(int=0).hex, user_id.hex, since, 0, until, None, ""


def insert(
    database: Database,
    *pushes: tuple[object, ...],
    then: Callable[[Transaction], object] | None = None,
) -> object:
    """Rows by a statement each, then something else, in one transaction."""
    with database.write() as transaction:
        for one in pushes:
            transaction.insert(INTO_PUSHES, [one])
        return then(transaction) if then else None


def count(transaction: Transaction) -> int:
    """How many rows there are."""
    return int(transaction.sql.exec_driver_sql("SELECT count(*) FROM pushes").scalar_one())


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
    assert rows(database, "SELECT user_id FROM pushes") == [(UUID(str(known[1])),)]
    assert insert(database, push(uuid4()), then=count) == 2


def test_what_reads_after_a_row_sees_it_or_is_told_its_failure(database: Database) -> None:
    """In the order in which they were sent."""
    known = push(uuid4())
    assert insert(database, known, then=count) == 1
    read: list[int] = []
    with pytest.raises(ConflictError, match="UniqueViolation"):
        insert(
            database, known, push(uuid4()), then=lambda transaction: read.append(count(transaction))
        )
    assert read == []


def test_an_error_of_ours_is_told_and_not_that_of_a_row_on_its_way(
    database: Database, postgresql_url: str
) -> None:
    """And the connection serves on."""
    known = push(uuid4())
    insert(database, known)
    with locked(postgresql_url, "pushes") as other:

        def fail(_: Transaction) -> None:
            other.rollback()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            insert(database, known, then=fail)
    assert insert(database, then=count) == 1


def test_an_event_whose_connection_broke_while_at_rest_is_stored(usher: App) -> None:
    """It is tried again on a new one."""
    database = usher.store.database
    with database.read() as transaction:
        driver: Any = transaction._session.raw
    driver.close()
    assert statuses(deliver(usher, [signed("signup", account())])) == [200]
    assert counts(database)["deliveries"] == 1


def test_an_event_whose_connection_broke_after_the_commit_gets_its_answer(
    usher: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the delivery that is stored, which has one effect."""
    commit = PipelineSession.commit
    broken: list[object] = []

    def break_once(self: PipelineSession[Any]) -> None:
        commit(self)
        if not broken:
            broken.append(self)
            self.raw.close()
            raise ExchangeError(Fault.AWAY, "server closed the connection unexpectedly")

    monkeypatch.setattr(PipelineSession, "commit", break_once)
    assert statuses(deliver(usher, [signed("signup", account())])) == [200]
    assert broken
    assert counts(usher.store.database) == {
        "users": 1, "grants": 2, "deliveries": 1, "audit": 1,
    }  # fmt: skip
