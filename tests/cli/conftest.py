"""``usher`` called in this process as from a shell, and as a real process."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest
from click.testing import CliRunner, Result
from sqlalchemy.engine import make_url

from tests.cli.sync_support import Site
from tests.dev_process import GUIDED, Dev
from tests.emulator.world import MOUNT, OPERATOR, World, world
from tests.stub import Stub, functions
from tests.support import ROOT, SECRET, WAIT_SECONDS, account, call, clean_environment, signed
from usher.cli.main import main
from usher.core.app import App, use, utc_now
from usher.core.domain import sync_place
from usher.core.identity import client, sync_accounts
from usher.core.settings import Settings
from usher.emulator.payload import ZERO_INSTANCE
from usher.emulator.server import serving
from usher.functions._shared.http import Request, Response


class Handles(Protocol):
    """Answers requests to Identity."""

    def handle(self, request: Request) -> Response:
        """Identity's answer, or another in its place."""


Served = TypeVar("Served", bound=Handles)


class _Main:
    """Lets click's runner call the whole program, its handling of our errors included."""

    name = "usher"

    def main(self, args: list[str], prog_name: str, **_: Any) -> None:
        """Run ``usher`` with these arguments."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [prog_name, *args])
            main()


class Program:
    """``usher`` with its settings in the environment and ``tmp_path`` as working directory."""

    def __call__(
        self,
        *arguments: str,
        code: int | tuple[int, ...] = 0,
        input: str | None = None,
        color: bool = False,
        traceback: bool = False,
    ) -> Result:
        """Run it; any other exit code than this (or these) fails the test.

        So does any traceback, unless it is a policy's and expected.
        """
        result = CliRunner().invoke(_Main(), arguments, input=input, color=color)  # type: ignore[arg-type]
        if result.exception and not isinstance(result.exception, SystemExit):
            raise AssertionError(f"a traceback: {arguments}") from result.exception
        assert traceback or "Traceback" not in result.output
        assert result.exit_code in ((code,) if isinstance(code, int) else code), result.output
        return result

    def json(self, *arguments: str, code: int | tuple[int, ...] = 0) -> Any:
        """Run it with --json and read standard output, which must be nothing else."""
        return json.loads(self(*arguments, "--json", code=code).stdout)

    @contextmanager
    def app(self, clock: Callable[[], datetime] = utc_now) -> Iterator[App]:
        """The App that the program would use, as the process's."""
        with use(App(Settings.from_env(os.environ), clock)) as app:
            yield app

    def deliver(
        self,
        event: str,
        email: str,
        *,
        instance_id: UUID = ZERO_INSTANCE,
        answers: int | None = None,
        **fields: Any,
    ) -> UUID:
        """An event as it would come from Identity; returns the user's id."""
        now = datetime.now(UTC)
        who = account(email=email, at=now, **({"user_id": uuid4()} | fields))
        with self.app():
            status = call(signed(event, who, at=now, instance_id=instance_id))["statusCode"]
        assert status in ((200, 204, 401, 403) if answers is None else (answers,))
        return who.id

    def sign_up(self, *emails: str) -> list[UUID]:
        """Sign these people up, in this order."""
        return [self.deliver("signup", email) for email in emails]

    def roles(self, user: object) -> list[str]:
        """The effective roles of a user."""
        found: list[str] = self.json("users", "show", str(user))["roles"]
        return found

    @contextmanager
    def door(self) -> Iterator[Stub]:
        """Our functions, served on loopback with the program's settings."""
        with ExitStack() as stack:
            stack.enter_context(self.app())
            yield stack.enter_context(functions())


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program in an empty working directory, without any setting."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOGNAME", "operator")
    return Program()


@pytest.fixture
def folder(tmp_path: Path, policy_file: Path) -> Path:
    """A working folder with the usual policy, and nothing else."""
    path = tmp_path / "site"
    path.mkdir()
    shutil.copy(policy_file, path / "policy.toml")
    return path


@pytest.fixture
def program(
    bare: Program, sqlite_url: str, policy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Program:
    """The program on a new SQLite file with the usual policy."""
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", SECRET.decode())
    monkeypatch.setenv("USHER_POLICY", str(policy_file))
    monkeypatch.setenv("USHER_DATABASE_URL", sqlite_url)
    return bare


@pytest.fixture
def on_both(program: Program, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Program:
    """The program on each kind of database."""
    monkeypatch.setenv("USHER_DATABASE_URL", database_url)
    return program


@pytest.fixture
def empty_postgresql(postgresql_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database without a single table."""
    name = f"empty_{uuid4().hex[:12]}"
    plain = postgresql_server.replace("postgresql+psycopg", "postgresql")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield make_url(postgresql_server).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


Process = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def process(tmp_path: Path) -> Process:
    """Run ``python -m usher.cli`` with arguments and settings; any traceback fails the test."""

    def run(*arguments: str | bytes, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "usher.cli", *arguments],
            cwd=tmp_path,
            env=clean_environment(PYTHONPATH=str(ROOT), **variables),
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        if "Traceback" in done.stderr:
            pytest.fail(f"a traceback: {done.stderr.splitlines()[-1][:200]}", pytrace=False)
        return done

    return run


@pytest.fixture
def dev(folder: Path) -> Iterator[Dev]:
    """A running ``usher dev`` that has told all that it has to tell."""
    running = Dev(folder)
    running.says(GUIDED)
    yield running
    running.stop()


@contextmanager
def at_identity(
    make: Callable[[World], Served], folder: Path, patch: pytest.MonkeyPatch
) -> Iterator[Served]:
    """Identity's side of a site, with the settings that lead there, and the instance known."""
    folder.mkdir()
    with ExitStack() as stack:
        found = make(stack.enter_context(world(folder, clock=lambda: datetime.now(UTC))))
        url = stack.enter_context(serving(found.handle))
        patch.setenv("USHER_IDENTITY_URL", url + MOUNT)
        patch.setenv("USHER_IDENTITY_ADMIN_TOKEN", OPERATOR)
        patch.setenv("USHER_INSTANCE_ID", str(ZERO_INSTANCE))
        yield found


@pytest.fixture
def site(on_both: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """No record here yet, and the instance known."""
    with at_identity(partial(Site, on_both), tmp_path / "identity", monkeypatch) as found:
        yield found


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten accounts a page, and no pause before Identity is asked again."""
    monkeypatch.setattr(sync_place, "SIZES", (10, 5, 1))
    monkeypatch.setattr(sync_accounts, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(client, "FIRST_PAUSE_SECONDS", 0.0)
