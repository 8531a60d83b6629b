"""``usher outbox run``: changes are handed over where no server does it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import json

from tests.cli.conftest import Process, Program
from tests.receivers import Receiver
from tests.support import Clock, account, signed, verified

HOOKS = """
from usher import after

@after("role.granted")
def told(change):
    print("told", change.role)

@after("role.granted")
def raises(change):
    raise KeyError(change.role)
"""


@pytest.fixture
def site(program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """A site with handlers, and somebody who came an hour ago."""
    (tmp_path / "site_hooks.py").write_text(HOOKS)
    monkeypatch.setenv("USHER_HANDLERS", "site_hooks")
    then = datetime.now(UTC) - timedelta(hours=1)
    with program.app(Clock(then)) as app:
        delivery = signed("signup", account(email="ada@a.example", at=then), at=then)
        app.webhooks.process([verified(app.webhooks, delivery, then)])
    return program


def test_changes_since_the_first_run_are_handed_over(site: Program, process: Process) -> None:
    """What fails waits; a handler is told of what comes after its first run, not of the past."""
    settings = {name: os.environ[name] for name in os.environ if name.startswith("USHER_")}
    first = process("outbox", "run", "--once", **settings)
    assert (first.returncode, first.stdout) == (0, "0 changes handed over.\n"), first.stderr
    site("users", "grant", "ada@a.example", "editor")
    second = process("outbox", "run", "--once", **settings)
    assert (second.returncode, second.stdout) == (0, "1 change handed over.\n"), second.stderr
    assert "told editor\n" in second.stderr
    assert "KeyError: 'editor' at site_hooks.py:10" in second.stderr
    third = process("outbox", "run", "--seconds", "1", **settings)
    assert (third.returncode, third.stdout) == (0, "0 changes handed over.\n")


def test_changes_are_handed_over_to_a_sink_beside_the_handlers(
    site: Program, process: Process
) -> None:
    """A sink is told of what comes after its addition."""
    with Receiver() as receiver:
        settings = {name: os.environ[name] for name in os.environ if name.startswith("USHER_")}
        settings["USHER_SINK_NETWORKS"] = "127.0.0.0/8"
        url = f"http://127.0.0.1:{receiver.port}/"
        added = process("sinks", "add", url, "--changes", "role.granted", **settings)
        assert added.returncode == 0, added.stderr
        site("users", "grant", "ada@a.example", "editor")
        ran = process("outbox", "run", "--once", **settings | {"USHER_HANDLERS": ""})
        assert (ran.returncode, ran.stdout) == (0, "1 change handed over.\n"), ran.stderr
        assert [json.decode(each.body)["data"]["role"] for each in receiver.came] == ["editor"]


def test_without_handlers_and_sinks_it_says_so(program: Program) -> None:
    """Nobody is left to wait for nothing."""
    result = program("outbox", "run", code=1)
    assert "USHER_HANDLERS is not set, and there is no sink: nobody" in result.output
