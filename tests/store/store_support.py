"""Looking into a store from outside, and deliveries whose body is anything at all."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import event, text

from tests.support import NOON, SECRET, Signed, verified
from usher.core import log
from usher.core.app import App
from usher.core.domain.reply import Reply
from usher.core.store.database import Database
from usher.core.store.instances import Instances
from usher.core.users import UserService
from usher.core.webhooks import Verified
from usher.emulator.payload import ZERO_INSTANCE
from usher.emulator.sender import signed_headers

TABLES = ("users", "grants", "deliveries", "audit")


def counts(database: Database) -> dict[str, int]:
    """How many rows each table has."""
    with database.read() as connection:
        return {
            table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in TABLES
        }


def rows(database: Database, statement: str, **values: Any) -> list[Any]:
    """Rows of a query, as tuples."""
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text(statement), values)]


def users_of(app: App, instance_id: UUID) -> UserService:
    """The user service of one instance, where there are several."""
    return UserService(
        app.store.database, app.settings.admin_role, app.clock, Instances(instance_id)
    )


def execute(database: Database, statement: str) -> None:
    """One statement, committed."""
    with database.write() as connection:
        connection.execute(text(statement))


@contextmanager
def executed(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Every statement meanwhile with its parameters, as the driver gets them."""
    found: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        found.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


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
