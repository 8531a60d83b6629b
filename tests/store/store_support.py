"""Looking into a store from outside, and deliveries whose body is anything at all."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import event, text

from tests.support import NOON, SECRET, Signed, verified
from usher.core import log
from usher.core.app import App
from usher.core.domain.reply import Reply
from usher.core.store.database import Database
from usher.core.store.drivers.pipeline import PipelineSession
from usher.core.store.drivers.sqlite import SqliteSession
from usher.core.store.instances import Instances
from usher.core.users import UserService
from usher.core.webhooks import Verified
from usher.emulator.payload import ZERO_INSTANCE
from usher.emulator.sender import signed_headers

TABLES = ("users", "grants", "deliveries", "audit")


def counts(database: Database) -> dict[str, int]:
    """How many rows each table has."""
    with database.read() as transaction:
        return {
            table: transaction.sql.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in TABLES
        }


def rows(database: Database, statement: str, **values: Any) -> list[Any]:
    """Rows of a query, as tuples."""
    with database.read() as transaction:
        return [tuple(row) for row in transaction.sql.execute(text(statement), values)]


def is_waited_for(database: Database, pid: int) -> bool:
    """Whether a connection of PostgreSQL has a lock that another one waits for."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE :pid = ANY(pg_blocking_pids(pid))"
    return bool(rows(database, waiting, pid=pid))


def users_of(app: App, instance_id: UUID) -> UserService:
    """The user service of one instance, where there are several."""
    return UserService(
        app.store.database, app.settings.admin_role, app.clock, Instances(instance_id)
    )


def execute(database: Database, statement: str) -> None:
    """One statement, committed."""
    with database.write() as transaction:
        transaction.sql.execute(text(statement))


def end_sleepers(database: Database) -> None:
    """End what PostgreSQL still does for connections that are gone: it would hold up others."""
    execute(
        database,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE query LIKE 'SELECT pg_sleep%' AND pid <> pg_backend_pid()",
    )


@dataclass(frozen=True)
class Executed:
    """A statement as the driver got it."""

    text: str
    values: Any
    by_sqlalchemy: bool = False

    def plan(self, database: Database) -> str:
        """How the database would run it, had the tables more than a few rows."""
        with database.write() as transaction:
            session: Any = transaction._session
            if database.is_sqlite:
                found = session.run(f"EXPLAIN QUERY PLAN {self.text}", self.values).fetchall()
                return "\n".join(str(row[-1]) for row in found)
            # Autovacuum may analyse a small table at any time; then all of it is read and sorted.
            for way in ("seqscan", "bitmapscan"):
                transaction.sql.exec_driver_sql(f"SET LOCAL enable_{way} = off")
            explain = f"EXPLAIN {self.text}"
            if not self.by_sqlalchemy:
                session.queue(explain, self.values, False)
                found = session._load(session._exchange()[-1])
            else:
                found = transaction.sql.exec_driver_sql(explain, self.values).all()
        return "\n".join(str(row[-1]) for row in found)


@contextmanager
def executed(database: Database) -> Iterator[list[Executed]]:
    """Every statement meanwhile, as the driver gets it, but those about the transaction itself."""
    found: list[Executed] = []
    engine = database._pool.engine()
    run, queue = SqliteSession.run, PipelineSession.queue

    def note(text: str, values: Any, by_sqlalchemy: bool = False) -> None:
        if not text.startswith(("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA")):
            found.append(Executed(text, values, by_sqlalchemy))

    def noted_run(self: SqliteSession, text: str, values: Any = ()) -> Any:
        note(text, values)
        return run(self, text, values)

    def noted_queue(self: PipelineSession[Any], text: str, values: Any, prepare: bool) -> None:
        note(text, values)
        queue(self, text, values, prepare)

    def noted(_connection: Any, _cursor: Any, text: str, values: Any, *_: Any) -> None:
        note(text, values, by_sqlalchemy=True)

    database.dispose()  # SQLAlchemy's connections must be made after the listener is there
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteSession, "run", noted_run)
        patch.setattr(PipelineSession, "queue", noted_queue)
        event.listen(engine, "before_cursor_execute", noted)
        try:
            yield found
        finally:
            event.remove(engine, "before_cursor_execute", noted)


def raw(body: bytes, name: str = "signup") -> Signed:
    """Any bytes with a good signature."""
    headers = signed_headers(name, body, ZERO_INSTANCE, int(NOON.timestamp()), SECRET)
    return Signed(name, headers, body)


def deliver(app: App, deliveries: Iterable[Signed]) -> list[Reply | Exception]:
    """A batch through this App's pipeline."""
    return app.webhooks.process(checked(app, deliveries))


def checked(app: App, deliveries: Iterable[Signed]) -> Sequence[Verified]:
    """Deliveries past verification by this App."""
    return [verified(app.webhooks, delivery) for delivery in deliveries]


class LogLines:
    """The log lines written from now on."""

    def __init__(self) -> None:
        self._stream = io.StringIO()
        log.configure(self._stream)

    def __call__(self, *names: str) -> list[dict[str, Any]]:
        """Every line, or those of these names."""
        lines = [json.loads(line) for line in self._stream.getvalue().splitlines()]
        return [line for line in lines if not names or line["event"] in names]
