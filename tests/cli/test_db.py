"""``usher db upgrade``, and what other commands say of a database that lacks it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.cli.conftest import Program
from usher import migrations
from usher.core.store.database import Database

DONE = "The database is now at the newest revision.\n"
ALREADY = "The database was at the newest revision already.\n"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(
    request: pytest.FixtureRequest,
    program: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Program:
    """The program on a database without tables, of each kind."""
    url = f"sqlite:///{tmp_path}/new.db"
    if request.param == "postgresql":
        url = request.getfixturevalue("empty_postgresql")
    monkeypatch.setenv("USHER_DATABASE_URL", url)
    return program


def test_upgrade_makes_the_tables_once(empty: Program) -> None:
    """The second time there is nothing to do, and what is stored stays."""
    assert empty("db", "upgrade").stdout == DONE
    empty.sign_up("ada@example.com")
    assert empty("db", "upgrade").stdout == ALREADY
    assert [user["email"] for user in empty.json("users", "list")["users"]] == ["ada@example.com"]
    assert empty("doctor").exit_code == 0


def test_i4_a_dry_run_tells_what_would_be_done_and_does_nothing(
    empty: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows that it goes through are estimated; then nothing is to be done."""
    told = empty.json("db", "upgrade", "--dry-run")
    assert [each["revision"] for each in told] == [
        f"{number:04}" for number in range(1, int(migrations.newest()) + 1)
    ]
    assert {each["seconds"] for each in told} == {0}
    empty("db", "upgrade")
    assert empty("db", "upgrade", "--dry-run").stdout == "Nothing is to be done.\n"
    for number in range(3):
        empty.sign_up(f"{number}@example.com")
    database = Database(os.environ["USHER_DATABASE_URL"])
    with database.write() as transaction:
        transaction.sql.execute(text("UPDATE alembic_version SET version_num = '0003'"))
        if not database.is_sqlite:  # as autovacuum does in time
            transaction.sql.execute(text("ANALYZE users"))
    told = empty.json("db", "upgrade", "--dry-run")
    assert told[0] | {"seconds": 0} == {
        "revision": "0004",
        "summary": "Three indexes in the order of creation, so that new rows stand together at "
        "their ends.",
        "rows": {"users": 3, "grants": told[0]["rows"]["grants"]},
        "seconds": 0,
    }
    assert "3 rows of users" in empty("db", "upgrade", "--dry-run").stdout
    assert empty.json("db", "upgrade") == {"from": "0003", "to": migrations.newest()}
    database.dispose()


@pytest.mark.parametrize(
    "arguments",
    [
        ["users", "list"],
        ["users", "show", "ada@example.com"],
        ["users", "grant", "ada@example.com", "x"],
        ["events", "list"],
        ["events", "show", "abcdef"],
        ["policy", "explain", "some-id"],
        ["serve", "--port", "1"],
    ],
    ids=" ".join,
)
def test_a_postgresql_without_tables_is_never_migrated_by_the_way(
    program: Program, empty_postgresql: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Every command says what to run instead, in one line, exit code 1."""
    monkeypatch.setenv("USHER_DATABASE_URL", empty_postgresql)
    result = program(*arguments, code=1)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("The database is not migrated")
    assert line.endswith("Run: usher db upgrade")


def test_a_local_file_is_migrated_by_the_way(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ours alone, so the first command makes its tables."""
    monkeypatch.setenv("USHER_DATABASE_URL", f"sqlite:///{tmp_path}/new.db")
    assert program.json("users", "list")["users"] == []
    assert program("db", "upgrade").stdout == ALREADY


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////no/such/folder/usher.db",
        "postgresql+psycopg://u:hunter2secret@127.0.0.1:1/x",
        "postgresql+psycopg://u:hunter2secret@127.0.0.1:port/x",
    ],
)
def test_a_database_that_cannot_be_reached_is_said(
    program: Program, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """One sentence without the password, exit code 1, for reading and for upgrading."""
    monkeypatch.setenv("USHER_DATABASE_URL", url)
    for arguments in (["users", "list"], ["db", "upgrade"]):
        result = program(*arguments, code=1)
        assert result.stdout == ""
        assert result.stderr
        assert "hunter2secret" not in result.stderr


def test_what_is_no_database_is_said(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that holds something else is left as it is."""
    path = tmp_path / "letter.db"
    path.write_text("Dear Ada, " * 200)
    monkeypatch.setenv("USHER_DATABASE_URL", f"sqlite:///{path}")
    assert "The database cannot be used" in program("users", "list", code=1).stderr
    assert path.read_text().startswith("Dear Ada, ")


@pytest.mark.parametrize("spelling", ["postgres://", "postgresql://", "postgresql+psycopg://"])
def test_j3_the_urls_that_hosts_give_are_taken(
    program: Program, postgresql_url: str, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    """With the setting, and where a replay is told another database."""
    url = postgresql_url.replace("postgresql+psycopg://", spelling)
    assert program.json("replay", "--ledger", "--into", url)["failed"] == 0
    monkeypatch.setenv("USHER_DATABASE_URL", url)
    assert program("db", "upgrade").stdout.endswith("at the newest revision already.\n")
    assert program.json("users", "list")["users"] == []


@pytest.mark.parametrize("url", ["mysql://db/x", "usher.db", "sqlite:///"])
def test_j3_a_replay_into_what_is_no_database_of_ours_is_refused(
    program: Program, url: str
) -> None:
    """By the rules of the setting; wrong usage."""
    assert "--into" in program("replay", "--ledger", "--into", url, code=2).output


@pytest.mark.parametrize(
    "arguments",
    [
        ["users", "list"],
        ["db", "upgrade"],
        ["serve", "--port", "1"],
        ["replay", "--ledger", "--into", "postgres://db/x"],
    ],
    ids=" ".join,
)
def test_j2_a_missing_driver_is_one_sentence_with_the_command_that_installs_it(
    program: Program, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Never a traceback; the server does not start."""
    for name in ("psycopg", "pg8000"):
        monkeypatch.setitem(sys.modules, name, None)
    if "replay" not in arguments:
        monkeypatch.setenv("USHER_DATABASE_URL", "postgres://db/x")
    monkeypatch.setattr("usher.cli.serve.check_address", lambda *_: None)
    assert program(*arguments, code=1).stderr == (
        "The driver for PostgreSQL is not installed. Run: pip install 'usher-identity[postgres]'\n"
    )


def test_j2_the_doctor_names_the_missing_driver(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And goes on."""
    for name in ("psycopg", "pg8000"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("USHER_DATABASE_URL", "postgres://db/x")
    found = {each["name"]: each for each in program.json("doctor", code=1)}
    assert found["database"]["key"] == "database.driver_missing"
    (advice,) = found["database"]["advice"]
    assert advice["commands"] == ["pip install 'usher-identity[postgres]'"]
    assert [name for name, each in found.items() if not each["well"]] == ["database"]


def test_i5_an_older_version_goes_on_with_a_newer_database(empty: Program) -> None:
    """What a newer version added stays as it is, and nothing is migrated back."""
    empty("db", "upgrade")
    database = Database(os.environ["USHER_DATABASE_URL"])
    with database.write() as transaction:
        transaction.sql.execute(text("ALTER TABLE users ADD COLUMN later TEXT"))
        transaction.sql.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    said = empty("db", "upgrade").stdout
    assert said.startswith("The database is at revision 9999, which a newer version of Usher made.")
    empty.sign_up("ada@example.com")
    assert [user["email"] for user in empty.json("users", "list")["users"]] == ["ada@example.com"]
    assert empty("doctor").exit_code == 0
    assert migrations.revision(database) == "9999"
    database.dispose()


def test_tables_in_a_schema_that_is_not_seen_are_not_made_a_second_time(
    empty_postgresql: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence says where they are; nothing is changed."""
    monkeypatch.setenv("USHER_DATABASE_URL", empty_postgresql)
    assert program("db", "upgrade").stdout == DONE
    database = Database(empty_postgresql)
    with database.write() as transaction:
        transaction.sql.execute(text("ALTER SCHEMA public RENAME TO theirs"))
        transaction.sql.execute(text("CREATE SCHEMA public"))
    for arguments in ((), ("--dry-run",)):
        said = program("db", "upgrade", *arguments, code=1).stderr
        assert "in the schema theirs, where the role postgres does not see them" in said
    with database.read() as transaction:
        made = text("SELECT schemaname FROM pg_tables WHERE tablename = 'deliveries'")
        assert transaction.sql.execute(made).scalars().all() == ["theirs"]
    database.dispose()
