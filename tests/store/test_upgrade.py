"""Migrations on tables that are in use: nothing waits for them, and nothing is left half done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Event

import psycopg
import pytest
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from tests.server.outages import wait_until
from tests.store.grants import plain
from tests.store.schema import schema
from tests.store.store_support import deliver, execute, rows
from tests.support import Clock, account, signed
from usher import migrations
from usher.core.app import App
from usher.core.domain.reply import Reply
from usher.core.errors import DatabaseAwayError, DatabaseError
from usher.core.settings import Settings
from usher.core.store.database import Database
from usher.migrations import runner

GOLDEN = Path(__file__).parent / "golden" / "schema-0008.json"
BEFORE = "0003"
"""The last revision before the first index was built anew."""


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PAUSE_SECONDS", 0.1)


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, of the kind asked for."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new.db"
    url: str = request.getfixturevalue("empty_postgresql")
    return url.replace("+psycopg", "+pg8000") if request.param == "pg8000" else url


@pytest.fixture
def database(empty_postgresql: str) -> Iterator[Database]:
    """A PostgreSQL at an old revision."""
    opened = Database(empty_postgresql)
    migrations.upgrade(opened, to=BEFORE)
    yield opened
    opened.dispose()


@pytest.mark.parametrize("empty_url", ["sqlite", "postgresql", "pg8000"], indirect=True)
def test_i4_the_migrations_give_the_schema_that_they_always_gave(empty_url: str) -> None:
    """One after the other, or all at once."""
    golden = json.loads(GOLDEN.read_text())[empty_url.partition(":")[0].partition("+")[0]]
    database = Database(empty_url)
    for number in range(1, 9):
        migrations.upgrade(database, to=f"{number:04}")
        assert migrations.revision(database) == f"{number:04}"
    assert json.loads(json.dumps(schema(database), default=list)) == golden
    database.dispose()


def test_i4_an_upgrade_lets_everybody_pass_behind_a_long_read(
    database: Database, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    """It takes a lock at once or not at all, says who has it, and goes on afterwards."""
    migrations.upgrade(database, to="0007")
    said: list[str] = []
    with (
        psycopg.connect(plain(database.url)) as reader,
        ThreadPoolExecutor(1) as pool,
    ):
        reader.execute("SELECT count(*) FROM deliveries")
        upgrade = pool.submit(migrations.upgrade, database, report=said.append)
        wait_until(lambda: any("is in use" in line for line in said))
        (pid,) = reader.execute("SELECT pg_backend_pid()").fetchone() or ()
        assert str(pid) in next(line for line in said if "is in use" in line)
        for _ in range(5):
            execute(database, "DELETE FROM deliveries")  # as the writes of events, waits for none
        assert not upgrade.done()
        reader.rollback()
        upgrade.result()
    assert migrations.revision(database) == migrations.newest()


def test_i4_an_upgrade_that_never_gets_its_lock_says_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, with the process that is to be ended; a second run succeeds."""
    migrations.upgrade(database, to="0007")
    monkeypatch.setattr(runner, "PATIENCE_SECONDS", 0.0)
    url = plain(database.url)
    with psycopg.connect(url) as reader:
        reader.execute("SELECT count(*) FROM deliveries")
        with pytest.raises(DatabaseAwayError, match=f"processes {reader.info.backend_pid}"):
            migrations.upgrade(database)
    assert migrations.revision(database) == "0007"
    migrations.upgrade(database)
    assert migrations.revision(database) == migrations.newest()


def test_i4_a_build_that_was_interrupted_is_done_again(database: Database) -> None:
    """Its broken index is removed; meanwhile the old one serves."""
    url = plain(database.url)
    with (
        psycopg.connect(url) as old,
        psycopg.connect(url, autocommit=True) as admin,
        ThreadPoolExecutor(1) as pool,
    ):
        old.execute("SELECT count(*) FROM users")  # for its end each build waits

        def building() -> bool:
            return bool(
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index "
                    "WHERE phase LIKE 'waiting%' AND current_locker_pid <> 0"
                ).fetchall()
            )

        old.execute("INSERT INTO counters VALUES (gen_random_uuid(), 'x', 0, 0)")
        old.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
        upgrade = pool.submit(migrations.upgrade, database)
        wait_until(building)
        with pytest.raises(DatabaseError):
            upgrade.result()
        assert admin.execute(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
        ).fetchall() == [("users_status_new",)]
        assert migrations.revision(database) == BEFORE
    migrations.upgrade(database, to="0008")
    golden = json.loads(GOLDEN.read_text())["postgresql"]
    assert json.loads(json.dumps(schema(database), default=list)) == golden


def test_an_upgrade_may_stop_before_any_revision_is_noted(
    empty_postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run finishes it, with the same schema."""
    database = Database(empty_postgresql)
    migrations.upgrade(database)
    whole = schema(database)
    execute(database, "DROP SCHEMA public CASCADE")
    execute(database, "CREATE SCHEMA public")
    stopped: list[str] = []
    stamp = MigrationContext.stamp

    def stop_first(context: MigrationContext, found: ScriptDirectory, revision: str) -> None:
        if revision not in stopped:
            stopped.append(revision)
            raise KeyboardInterrupt
        stamp(context, found, revision)

    monkeypatch.setattr(MigrationContext, "stamp", stop_first)
    while migrations.pending(database):
        before = len(stopped)
        with suppress(KeyboardInterrupt):
            migrations.upgrade(database)
        assert len(stopped) == before + 1 or not migrations.pending(database)
    assert stopped == [f"{number:04}" for number in range(1, int(migrations.newest()) + 1)]
    assert schema(database) == whole
    database.dispose()


def test_i4_of_two_upgrades_one_waits_and_says_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it finds nothing left to do."""
    first_is_at_work, second_waits = Event(), Event()

    def wait(line: str) -> None:
        first_is_at_work.set()
        assert second_waits.wait(60)

    def told(line: str) -> None:
        said.append(line)
        second_waits.set()

    said: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(migrations.upgrade, database, report=wait)
        assert first_is_at_work.wait(60)
        second = pool.submit(migrations.upgrade, database, report=told)
        first.result()
        second.result()
    assert said == ["Another upgrade is under way; waiting for its end."]
    assert migrations.revision(database) == migrations.newest()


def test_i4_events_keep_coming_during_an_upgrade(
    database: Database, make_settings: Callable[..., Settings], clock: Clock
) -> None:
    """From the revision before to the newest, over and over; none is refused, none waits long."""
    migrations.upgrade(database)
    url = database.url
    ended = Event()

    def crowd(number: int) -> list[Reply | Exception]:
        with closing(App(make_settings(database_url=url), clock)) as app:
            answers: list[Reply | Exception] = []
            while not ended.is_set():
                who = account(email=f"{number}-{len(answers)}@example.com")
                answers += deliver(app, [signed("signup", who)])
            return answers

    with ThreadPoolExecutor(3) as pool:
        crowds = [pool.submit(crowd, number) for number in range(3)]
        for _ in range(2):
            execute(database, "UPDATE alembic_version SET version_num = '0003'")
            execute(database, "DROP INDEX users_status")
            migrations.upgrade(database)
        ended.set()
        answers = [answer for each in crowds for answer in each.result()]
    assert [one for one in answers if not isinstance(one, Reply) or one.status != 200] == []
    assert rows(database, "SELECT count(*) FROM users") == [(len(answers),)]
