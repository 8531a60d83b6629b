"""The pipeline when something fails: nothing half-applied, neighbours unharmed, retries run."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence

import psycopg
import pytest

from tests.store.store_support import LogLines, counts, deliver, execute
from tests.support import Signed, account, call, databases, signed
from usher.core.app import App
from usher.core.domain.records import Delivery
from usher.core.domain.reply import Reply
from usher.core.errors import ConflictError, DatabaseError, DuplicateError, NotStorableError
from usher.core.store.database import Transaction
from usher.core.store.drivers.pg8000 import ServerError
from usher.core.webhooks import CONFLICT_ATTEMPTS

NOTHING = {"users": 0, "grants": 0, "deliveries": 0, "audit": 0}
Record = Callable[[Transaction, Sequence[Delivery]], None]

database_url = databases("sqlite", "postgresql", "pg8000")


def people(number: int) -> list[Signed]:
    """Signups of so many people."""
    return [signed("signup", account(email=f"p{n}@example.com")) for n in range(number)]


@pytest.fixture
def break_ledger(usher: App, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Have ``Ledger.record`` write, then raise; returns the sizes of the batches it was given."""
    original: Record = usher.store.ledger.record

    def install(fault: Callable[[list[int]], Exception | None]) -> list[int]:
        sizes: list[int] = []

        def record(transaction: Transaction, deliveries: Sequence[Delivery]) -> None:
            original(transaction, deliveries)
            sizes.append(len(deliveries))
            if error := fault(sizes):
                raise error

        monkeypatch.setattr(usher.store.ledger, "record", record)
        return sizes

    return install


@pytest.fixture
def conflict(usher: App) -> Callable[..., Exception]:
    """What a unique constraint of this database raises."""

    def of_sqlite() -> Exception:
        error = sqlite3.IntegrityError("duplicate key")
        error.sqlite_errorcode = sqlite3.SQLITE_CONSTRAINT_UNIQUE
        return error

    def of_postgresql() -> Exception:
        return psycopg.errors.UniqueViolation("duplicate key")

    def of_pg8000() -> Exception:
        return ServerError({"C": "23505", "M": "duplicate key"})

    made = {"sqlite": of_sqlite, "postgresql+psycopg": of_postgresql}
    return made.get(usher.store.database.url.partition(":")[0], of_pg8000)


def test_a_batch_whose_transaction_fails_runs_again_one_by_one(
    usher: App,
    break_ledger: Callable[..., list[int]],
    conflict: Callable[..., Exception],
) -> None:
    """The failed transaction leaves nothing, and every delivery is stored once, in order."""
    sizes = break_ledger(lambda sizes: conflict() if sizes[-1] > 1 else None)
    lines, batch = LogLines(), people(3)
    answers = deliver(usher, batch)
    assert sizes == [3, 1, 1, 1]
    assert [a.status for a in answers if isinstance(a, Reply)] == [200, 200, 200]
    stored = [delivery.body for delivery in reversed(usher.store.ledger.page().items)]
    assert stored == [delivery.body for delivery in batch]
    names = [line["event"] for line in lines()]
    assert names == ["batch.split", "instance.adopted", *["event.applied"] * 3]
    assert counts(usher.store.database)["users"] == 3


def test_one_delivery_that_always_fails_leaves_its_neighbours_stored(
    usher: App, break_ledger: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It alone is answered with the error and logged as failed."""
    batch = people(3)
    original: Record = usher.store.ledger.record

    def record(transaction: Transaction, deliveries: Sequence[Delivery]) -> None:
        original(transaction, deliveries)
        if any(delivery.body == batch[1].body for delivery in deliveries):
            raise DatabaseError("the disk has a bad sector")

    monkeypatch.setattr(usher.store.ledger, "record", record)
    lines = LogLines()
    answers = deliver(usher, batch)
    assert [type(answer) for answer in answers] == [Reply, NotStorableError, Reply]
    assert counts(usher.store.database)["users"] == counts(usher.store.database)["deliveries"] == 2
    (failed,) = lines("event.failed")
    assert (failed["code"], failed["level"]) == ("not_storable", "error")


def test_a_conflict_is_tried_again_and_then_answered(
    usher: App,
    break_ledger: Callable[..., list[int]],
    conflict: Callable[..., Exception],
) -> None:
    """Another process was first, and is done by the time of the next attempt."""
    last = CONFLICT_ATTEMPTS
    sizes = break_ledger(lambda sizes: conflict() if len(sizes) < last else None)
    assert call(people(1)[0])["statusCode"] == 200
    assert sizes == [1] * CONFLICT_ATTEMPTS
    assert counts(usher.store.database) == {"users": 1, "grants": 2, "deliveries": 1, "audit": 1}


@pytest.mark.parametrize(
    ("last", "status", "code", "tries"),
    [
        (ConflictError(), 503, "conflict", CONFLICT_ATTEMPTS),
        (DuplicateError("", "duplicate key"), 500, "not_storable", CONFLICT_ATTEMPTS + 1),
    ],
    ids=["others", "a key"],
)
def test_a_conflict_that_does_not_end_is_given_up(
    usher: App,
    break_ledger: Callable[..., list[int]],
    last: ConflictError,
    status: int,
    code: str,
    tries: int,
) -> None:
    """After CONFLICT_ATTEMPTS the sender is told to come again; of a key, it is to be kept too."""
    sizes = break_ledger(lambda _: last)
    answer = call(people(1)[0])
    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (status, code)
    assert len(sizes) == tries
    assert counts(usher.store.database) == NOTHING


def test_a_failing_database_is_answered_503_and_the_retry_runs(usher: App) -> None:
    """A failure is not stored: as soon as the database is back, the same bytes are applied."""
    delivery, lines = people(1)[0], LogLines()
    execute(usher.store.database, "ALTER TABLE deliveries RENAME TO away")
    try:
        answers = [call(delivery) for _ in range(2)]
    finally:
        execute(usher.store.database, "ALTER TABLE away RENAME TO deliveries")
    for answer in answers:
        assert answer["statusCode"] == 503
        assert json.loads(answer["body"])["code"] == "database_unavailable"
        assert answer["headers"]["Retry-After"] == "1"
    assert counts(usher.store.database) == NOTHING
    assert call(delivery)["statusCode"] == 200
    names = [line["event"] for line in lines()]
    assert names == ["event.failed", "event.failed", "instance.adopted", "event.applied"]


def test_a_batch_against_a_failing_database_fails_whole_and_leaves_nothing(usher: App) -> None:
    """Every delivery gets the error; the first statement that fails is not the last written."""
    batch = people(3)
    execute(usher.store.database, "ALTER TABLE audit RENAME TO away")
    try:
        answers = deliver(usher, batch)
    finally:
        execute(usher.store.database, "ALTER TABLE away RENAME TO audit")
    assert all(isinstance(answer, DatabaseError) for answer in answers)
    assert counts(usher.store.database) == NOTHING
    assert all(isinstance(answer, Reply) for answer in deliver(usher, batch))


def test_any_other_fault_while_storing_rolls_back_and_is_answered_500(
    usher: App, break_ledger: Callable[..., list[int]]
) -> None:
    """Rolled back unless committed; a handler answers even when the pipeline has a fault."""
    delivery = people(1)[0]
    break_ledger(lambda sizes: RuntimeError("a fault of ours") if len(sizes) == 1 else None)
    answer = call(delivery)
    assert answer["statusCode"] == 500
    assert json.loads(answer["body"])["code"] == "internal_error"
    assert "fault" not in answer["body"]
    assert counts(usher.store.database) == NOTHING | {"deliveries": 1}  # kept as failed
    assert call(delivery)["statusCode"] == 200


def test_any_other_fault_while_storing_a_batch_fails_only_the_delivery_at_fault(
    usher: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its neighbours are stored, whatever kind of exception it was."""
    batch = people(3)
    original: Record = usher.store.ledger.record

    def record(transaction: Transaction, deliveries: Sequence[Delivery]) -> None:
        if any(delivery.body == batch[1].body for delivery in deliveries):
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        original(transaction, deliveries)

    monkeypatch.setattr(usher.store.ledger, "record", record)
    answers = deliver(usher, batch)
    assert [type(answer) for answer in answers] == [Reply, UnicodeEncodeError, Reply]
    assert counts(usher.store.database)["deliveries"] == 2
