"""PostgreSQL as it is set up elsewhere: another isolation level, tables of another version."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import text

from tests.store.store_support import deliver
from tests.support import NOON, Clock, account, signed
from usher.core.app import App
from usher.core.domain.reply import Reply
from usher.core.errors import ConflictError, DatabaseError, NotMigratedError
from usher.core.settings import Settings
from usher.core.store.database import Database, Transaction

CLIENTS = 8
SAME = 12
"""Events for one and the same user by each client."""


@pytest.fixture
def database(postgresql_url: str) -> Iterator[Database]:
    """PostgreSQL alone."""
    opened = Database(postgresql_url)
    yield opened
    opened.dispose()


@pytest.fixture
def serializable(postgresql_url: str) -> Iterator[None]:
    """Every new session begins at the strictest level."""
    plain = postgresql_url.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("ALTER ROLE current_user SET default_transaction_isolation=serializable")
        try:
            yield
        finally:
            connection.execute("ALTER ROLE current_user RESET default_transaction_isolation")


def test_i3_the_isolation_level_is_said_at_begin(serializable: None, database: Database) -> None:
    """Reads are of one moment, and can change nothing."""
    level = text("SHOW transaction_isolation")
    with database.write() as transaction:
        assert transaction.sql.execute(level).scalar_one() == "read committed"
    with database.read() as transaction:
        assert transaction.sql.execute(level).scalar_one() == "repeatable read"
        assert transaction.sql.execute(text("SHOW transaction_read_only")).scalar_one() == "on"


def test_i3_no_event_is_refused_where_the_default_is_serializable(
    serializable: None,
    postgresql_url: str,
    make_settings: Callable[..., Settings],
    clock: Clock,
) -> None:
    """All at once, of one person."""
    person = account()

    def client(number: int) -> list[Reply | Exception]:
        app = App(make_settings(database_url=postgresql_url), clock)
        events = [
            signed("login", person, at=NOON - timedelta(seconds=number * SAME + each))
            for each in range(SAME)
        ]
        answers = [answer for event in events for answer in deliver(app, [event])]
        app.close()
        return answers

    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = [answer for found in pool.map(client, range(CLIENTS)) for answer in found]
    assert len(answers) == CLIENTS * SAME
    assert [one for one in answers if not isinstance(one, Reply) or one.status >= 300] == []


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_i3_what_only_came_at_the_wrong_moment_is_tried_again(
    database: Database, state: str
) -> None:
    """A serialization failure and a deadlock."""
    with pytest.raises(ConflictError), database.write() as transaction:
        _raise(transaction, state)


@pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT absent FROM users",
        "SELECT 1 FROM nowhere",
        "UPDATE users SET absent = 1",
        "INSERT INTO users (absent) VALUES (1)",
    ],
)
def test_i2_tables_of_another_version_are_not_migrated(usher: App, statement: str) -> None:
    """A table or a column is missing."""
    with (
        pytest.raises(NotMigratedError, match="usher db upgrade"),
        usher.store.database.write() as transaction,
    ):
        transaction.sql.execute(text(statement))


@pytest.mark.parametrize("state", ["42501", "3D000", "28000", "42883"])
def test_i2_what_does_not_exist_may_have_nothing_to_do_with_migrations(
    database: Database, state: str
) -> None:
    """No grant, no database, no role, no function: migrating would not help."""
    with pytest.raises(DatabaseError) as found, database.write() as transaction:
        _raise(transaction, state)
    assert not isinstance(found.value, NotMigratedError)


def _raise(transaction: Transaction, state: str) -> None:
    """Let the server itself raise an error of this SQLSTATE."""
    body = f"BEGIN RAISE EXCEPTION SQLSTATE '{state}' USING MESSAGE = 'it does not exist'; END"
    transaction.sql.execute(text(f"DO $$ {body} $$"))
