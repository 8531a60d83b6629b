"""``usher doctor``: each thing that can be wrong is found, named, and given a remedy."""

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
from usher.core.app import utc_now


def findings(program: Program, code: int = 0) -> dict[str, dict[str, Any]]:
    """What the doctor found, by name."""
    return {found["name"]: found for found in program.json("doctor", code=code)}


def bad(program: Program) -> dict[str, dict[str, Any]]:
    """What the doctor found to be wrong; its exit code is 1."""
    return {name: found for name, found in findings(program, 1).items() if not found["well"]}


def test_a_good_installation_is_well(on_both: Program) -> None:
    """No remedy, exit code 0."""
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
        "pushes",
        "drift",
        "identity",
    ]
    assert {each["well"] for each in found.values()} == {True}
    assert {each["remedy"] for each in found.values()} == {""}
    assert found["secrets"]["text"] == "webhook secrets: 1, the shortest of 32 bytes"
    assert found["database"]["text"].endswith(", at the newest revision")
    assert found["clock"]["text"].endswith("no event yet to compare with")


def test_of_several_instances_one_must_be_named(program: Program) -> None:
    """Whichever check meets them: no other remedy helps, the clock least of all."""
    with program.app() as app:
        save(app, user(), user(instance_id=UUID(int=1)))
    found = bad(program)
    assert set(found) == {"instance", "clock", "failures", "drift"}
    remedy = "Set USHER_INSTANCE_ID to the one that is meant; usher instance shows what is of each."
    assert {each["remedy"] for each in found.values()} == {remedy}


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
        ["ok", "pushes"],
        ["ok", "drift"],
        ["ok", "identity"],
    ]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, ["USHER_WEBHOOK_SECRETS is not set"]),
        ({"USHER_WEBHOOK_SECRETS": ""}, ["USHER_WEBHOOK_SECRETS is empty"]),
        ({"USHER_WEBHOOK_SECRETS": "x" * 31}, ["USHER_WEBHOOK_SECRETS holds a secret of 31 bytes"]),
        (
            {"USHER_WEBHOOK_SECRETS": SECRET.decode(), "USHER_SECRET": "x"},
            ["USHER_SECRET is not a setting of Usher"],
        ),
        (
            {"USHER_DATABASE_URL": "mysql://x", "USHER_MAX_BODY_BYTES": "1"},
            ["USHER_DATABASE_URL must begin", "USHER_MAX_BODY_BYTES must be", "USHER_WEBHOOK_SECR"],
        ),
    ],
)
def test_every_wrong_setting_is_a_finding(
    bare: Program, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: list[str]
) -> None:
    """All at once, in text and as JSON; nothing is created on the way."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = bare.json("doctor", code=1)
    assert [each["name"] for each in found] == ["settings"] * len(said)
    for each, words in zip(found, said, strict=True):
        assert each["text"].startswith(words)
    lines = bare("doctor", code=1).stdout.splitlines()
    assert all(line.startswith("BAD settings") for line in lines)
    assert list(Path().iterdir()) == []


def test_a_secret_without_variety_is_bad(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long, but typed by hand; the remedy is the command that makes one."""
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", "a" * 40)
    found = bad(program)
    assert list(found) == ["secrets"]
    assert found["secrets"]["remedy"] == "Run: usher secret"
    text = program("doctor", code=1).stdout
    assert "BAD secrets" in text
    assert "-> Run: usher secret" in text


def test_a_secret_listed_twice_is_bad(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation that never happened."""
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", f"{SECRET.decode()},{SECRET.decode()}")
    assert bad(program)["secrets"]["text"] == "a webhook secret is listed twice"


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
    """The remedy is the command; the clock is not blamed for it."""
    monkeypatch.setenv("USHER_DATABASE_URL", empty_postgresql)
    found = bad(program)
    assert "not at the newest revision" in found["database"]["text"]
    assert found["database"]["remedy"] == "Run: usher db upgrade"
    assert "clock" not in found or "NTP" not in found["clock"]["remedy"]


def test_a_database_that_is_away_is_bad(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said in a sentence, and without the password."""
    url = f"postgresql+psycopg://usher:hunter2secret@127.0.0.1:{free_port()}/usher"
    monkeypatch.setenv("USHER_DATABASE_URL", url)
    found = bad(program)
    assert found["database"]["text"].startswith("The database cannot be used: ")
    assert "hunter2secret" not in program("doctor", code=1).output


def test_a_broken_policy_is_bad(program: Program, policy_file: Path) -> None:
    """With place and problem; everything else is still looked at."""
    policy_file.write_text("[admision]")
    found = bad(program)
    assert list(found) == ["policy"]
    assert found["policy"]["text"].startswith("policy.toml: unknown key 'admision'")
    assert found["policy"]["remedy"] == "Run: usher policy check"


@pytest.mark.parametrize(("seconds", "well"), [(0, True), (50, True), (-50, True), (120, False)])
def test_the_newest_event_tells_whether_the_clock_is_right(
    program: Program, seconds: int, well: bool
) -> None:
    """It was signed by Identity's clock and received by ours."""
    now = utc_now().replace(microsecond=0)
    with program.app(lambda: now + timedelta(seconds=seconds)):
        call(signed("signup", account(at=now), at=now))
    found = findings(program, 0 if well else 1)["clock"]
    assert found["well"] is well
    assert f" {seconds} s after it was signed" in found["text"]
    assert found["remedy"] == ("" if well else "Set the system's clock (NTP).")


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
    assert ("locked" in found["database"]["text"]) or ("read-only" in found["database"]["text"])
    assert "can be written to" in found["database"]["remedy"]


def test_a_spool_that_cannot_be_written_is_bad(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As is one with records that could not be applied; those that wait are counted."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("USHER_SPOOL", str(tmp_path / "file" / "spool"))
    assert "cannot be written (Not a directory)" in bad(program)["spool"]["text"]
    folder = tmp_path / "good"
    monkeypatch.setenv("USHER_SPOOL", str(folder))
    assert "none is waiting" in findings(program)["spool"]["text"]
    (folder / "1.spool").write_text("one\ntwo\n")
    assert findings(program)["spool"]["text"].startswith("2 events in ")
    (folder / "dead-letters.records").write_text("one\n")
    found = bad(program)["spool"]
    assert found["text"].startswith("could not apply 1 event in ")
    assert "rename the file so that it ends in .spool" in found["remedy"]
