"""``usher doctor``: its output, and checks that look at more than one fact.

That each finding is made, and its advice mends it, is in test_doctor_walk.py; the words are in
golden/doctor*.txt.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, closing
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.cli.conftest import Program
from tests.store.test_users import save, user
from tests.support import SECRET, account, call, free_port, signed
from usher import migrations
from usher.core.app import utc_now
from usher.core.errors import DatabaseAwayError


def findings(program: Program, code: int = 0) -> dict[str, dict[str, Any]]:
    """What the doctor found, by name."""
    return {found["name"]: found for found in program.json("doctor", code=code)}


def bad(program: Program) -> dict[str, dict[str, Any]]:
    """What the doctor found to be wrong, by name; its exit code is 1."""
    return {name: found for name, found in findings(program, 1).items() if not found["well"]}


def keys(program: Program) -> list[str]:
    """The keys of what the doctor found to be wrong."""
    return [found["key"] for found in bad(program).values()]


def test_a_good_installation_is_well(on_both: Program) -> None:
    """No advice, exit code 0."""
    found = findings(on_both)
    assert list(found) == [
        "settings",
        "secrets",
        "api",
        "database",
        "policy",
        "spool",
        "instance",
        "clock",
        "failures",
        "requests",
        "pushes",
        "drift",
        "identity",
    ]
    assert {each["well"] for each in found.values()} == {True}
    assert {each["severity"] for each in found.values()} == {"ok"}
    assert [each for each in found.values() if each["advice"]] == []
    assert [each["key"] for each in found.values()] == [f"{name}.ok" for name in found]
    assert found["secrets"]["facts"] == {"count": 1, "shortest_bytes": 32}
    assert found["database"]["facts"] == {"revision": migrations.newest(), "pooled": False}
    assert found["clock"]["facts"] == {}


def test_h2_of_several_instances_one_must_be_named(on_both: Program) -> None:
    """Said once, with the users of each: the clock is not blamed for it."""
    with on_both.app() as app:
        save(app, user(), user(instance_id=UUID(int=2)), user(instance_id=UUID(int=2)))
    found = bad(on_both)
    assert list(found) == ["instance"]
    assert found["instance"]["facts"]["users"] == {str(UUID(int=2)): 2, str(UUID(int=0)): 1}
    assert found["instance"]["facts"]["largest"] == str(UUID(int=2))


def test_the_text_has_a_line_for_each_finding(program: Program) -> None:
    """``ok`` or ``BAD``, the name, what was seen."""
    lines = program("doctor").stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["ok", "settings"],
        ["ok", "secrets"],
        ["ok", "api"],
        ["ok", "database"],
        ["ok", "policy"],
        ["ok", "spool"],
        ["ok", "instance"],
        ["ok", "clock"],
        ["ok", "failures"],
        ["ok", "requests"],
        ["ok", "pushes"],
        ["ok", "drift"],
        ["ok", "identity"],
    ]


def test_all_that_is_well_comes_first(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line each; then each finding with its advice below, numbered where there are several."""
    monkeypatch.setenv("USHER_SPOOL", str(Path("policy.toml") / "spool"))
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", "ab" * 20)
    well, weak, spool = program("doctor", code=1).stdout.split("\n\n")
    assert {line.split()[0] for line in well.splitlines()} == {"ok"}
    head, *advice = weak.splitlines()
    assert head.split()[:2] == ["BAD", "secrets"]
    assert len(advice) == 1
    assert advice[0].endswith("Run: usher secret")
    head, *advice = spool.splitlines()
    assert head.split()[:2] == ["BAD", "spool"]
    assert [line.split()[0] for line in advice] == ["1.", "2."]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ["missing USHER_WEBHOOK_SECRETS"]),
        ({"USHER_WEBHOOK_SECRETS": ""}, ["invalid USHER_WEBHOOK_SECRETS"]),
        ({"USHER_WEBHOOK_SECRETS": "x" * 31}, ["invalid USHER_WEBHOOK_SECRETS"]),
        (
            {"USHER_WEBHOOK_SECRETS": SECRET.decode(), "USHER_SECRET": "x"},
            ["unknown USHER_SECRET"],
        ),
        (
            {"USHER_WEBHOOK_SECRETS": SECRET.decode(), "USHER_BRIDGE_URL": "https://x.example"},
            ["invalid USHER_BRIDGE_URL"],
        ),
        (
            {"USHER_DATABASE_URL": "mysql://x", "USHER_MAX_BODY_BYTES": "1"},
            [
                "invalid USHER_DATABASE_URL",
                "invalid USHER_MAX_BODY_BYTES",
                "missing USHER_WEBHOOK_SECRETS",
            ],
        ),
    ],
)
def test_every_wrong_setting_is_a_finding(
    bare: Program, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: list[str]
) -> None:
    """All at once, in text and as JSON; nothing is created on the way."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = bare.json("doctor", code=1)
    said = [f"{each['key'].removeprefix('settings.')} {each['facts']['setting']}" for each in found]
    assert said == expected
    heads = [line for line in bare("doctor", code=1).stdout.splitlines() if line[:1].strip()]
    assert [line.split()[:3] for line in heads] == [
        ["BAD", "settings", setting.split()[1]] for setting in expected
    ]
    assert list(Path().iterdir()) == []


def test_secrets_both_weak_and_repeated_are_two_findings(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One does not hide the other."""
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", f"{'a' * 40},{SECRET.decode()},{SECRET.decode()}")
    found = [each for each in program.json("doctor", code=1) if not each["well"]]
    assert [each["key"] for each in found] == ["secrets.weak", "secrets.repeated"]
    assert found[0]["facts"] == {"position": 1}


def test_no_secret_is_ever_printed(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither good nor bad ones."""
    for secrets in (SECRET.decode(), "a" * 40, f"{SECRET.decode()},short-one"):
        monkeypatch.setenv("USHER_WEBHOOK_SECRETS", secrets)
        output = (
            program("doctor", code=(0, 1)).output + program("doctor", "--json", code=(0, 1)).output
        )
        assert not any(secret in output for secret in secrets.split(","))


def test_a_database_without_tables_is_bad(
    program: Program, empty_postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else is blamed for it, the clock least of all."""
    monkeypatch.setenv("USHER_DATABASE_URL", empty_postgresql)
    assert keys(program) == ["database.not_migrated"]


def test_a_pooler_is_told_of(
    program: Program, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is well; tests/store/test_pgbouncer.py has a real one."""
    monkeypatch.setenv("USHER_DATABASE_URL", postgresql_url)
    monkeypatch.setattr("usher.core.store.database.Database.pooled", lambda _: True)
    found = findings(program)["database"]
    assert (found["key"], found["facts"]["pooled"]) == ("database.ok", True)


def test_a_database_that_is_away_is_bad(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in a sentence, and without the password."""
    url = f"postgresql+psycopg://usher:hunter2secret@127.0.0.1:{free_port()}/usher"
    monkeypatch.setenv("USHER_DATABASE_URL", url)
    assert keys(program) == ["database.unreachable"]
    assert "hunter2secret" not in program("doctor", code=1).output


def test_h2_a_database_that_is_not_there_is_not_made(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither it nor the spool beside it: the path is probably wrong."""
    monkeypatch.setenv("USHER_DATABASE_URL", f"sqlite:///{tmp_path}/no/such/usher.db")
    assert keys(program) == ["database.file"]
    assert keys(program) == ["database.file"]
    assert not (tmp_path / "no").exists()


def test_a_database_that_goes_away_meanwhile_is_a_finding(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two checks, say."""

    def away(_: object) -> None:
        raise DatabaseAwayError("gone")

    monkeypatch.setattr("usher.core.identity.push.Pushes.backlog", away)
    assert keys(program) == ["database.failed"]


def test_a_broken_policy_is_bad(program: Program, policy_file: Path) -> None:
    """With place and problem; everything else is still looked at."""
    policy_file.write_text("[admision]")
    assert keys(program) == ["policy.invalid"]
    facts = bad(program)["policy"]["facts"]
    assert facts["where"] == "policy.toml"
    assert "admision" in facts["problem"]


def test_the_age_of_each_list_of_the_policy_is_told(program: Program, policy_file: Path) -> None:
    """Lists of disposable domains grow old."""
    junk = policy_file.parent / "junk.txt"
    junk.write_text("junk.example\n")
    old = (utc_now() - timedelta(days=40, hours=1)).timestamp()
    os.utime(junk, (old, old))
    policy_file.write_text('[admission]\ndeny_email_domains = { file = "junk.txt" }\n')
    (found,) = [each for each in program.json("doctor") if each["name"] == "policy"]
    assert found["facts"]["files"] == {"junk.txt": 40}
    assert found["text"].endswith("; junk.txt is 40 days old")


@pytest.mark.parametrize(("seconds", "well"), [(0, True), (50, True), (-50, True), (120, False)])
def test_the_newest_event_tells_whether_the_clock_is_right(
    program: Program, seconds: int, well: bool
) -> None:
    """It was signed by Identity's clock and received by ours."""
    now = utc_now().replace(microsecond=0)
    with program.app(lambda: now + timedelta(seconds=seconds)):
        call(signed("signup", account(at=now), at=now))
    found = findings(program, 0 if well else 1)["clock"]
    assert found["key"] == ("clock.ok" if well else "clock.late")
    assert found["facts"] == {"seconds": seconds}


def test_a_database_that_can_only_be_read_is_bad(
    on_both: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby, or a file that somebody has locked; and nothing else is blamed for it."""
    url = os.environ["USHER_DATABASE_URL"]
    with ExitStack() as stack:
        if url.startswith("sqlite"):
            other = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
            stack.enter_context(closing(other)).execute("BEGIN IMMEDIATE")
        else:
            read_only = "options=-c%20default_transaction_read_only%3Don"
            joined = f"{url}{'&' if '?' in url else '?'}{read_only}"
            monkeypatch.setenv("USHER_DATABASE_URL", joined)
        found = bad(on_both)
    assert list(found) == ["database"]
    assert found["database"]["key"] in ("database.locked", "database.read_only")


def test_a_replay_says_nothing_of_the_clock(program: Program) -> None:
    """Nor does a server's clock of yesterday, once a later event has come."""
    program.sign_up("ada@example.com")
    Path("captured.jsonl").write_text(program("events", "export").stdout)
    assert findings(program)["clock"]["facts"]["seconds"] < 30
    now = utc_now().replace(microsecond=0)
    with program.app(lambda: now + timedelta(seconds=200)):
        call(signed("signup", account(email="bob@example.com", at=now), at=now))
    assert keys(program) == ["clock.late"]
    with program.app(lambda: now + timedelta(seconds=1)):
        call(signed("signup", account(email="pia@example.com", at=now), at=now))
    assert findings(program)["clock"]["facts"] == {"seconds": 1}


def test_a_spool_that_cannot_be_written_is_bad(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As is one with records that could not be applied; those that wait are counted."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("USHER_SPOOL", str(tmp_path / "file" / "spool"))
    assert keys(program) == ["spool.unwritable"]
    folder = tmp_path / "good"
    monkeypatch.setenv("USHER_SPOOL", str(folder))
    assert findings(program)["spool"]["facts"] == {"folder": str(folder), "waiting": 0}
    (folder / "1.spool").write_text("one\ntwo\n")
    assert findings(program)["spool"]["facts"]["waiting"] == 2
    (folder / "dead-letters.records").write_text("one\n")
    found = bad(program)["spool"]
    assert (found["key"], found["facts"]["count"]) == ("spool.dead_letters", 1)
    assert found["advice"][0]["commands"] == [
        f"mv {folder}/dead-letters.records {folder}/again.spool"
    ]
