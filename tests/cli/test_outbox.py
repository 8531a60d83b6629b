"""``usher outbox list``, ``show``, ``retry`` and ``skip``, and what an event or a person led to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, update

from tests.cli.conftest import Program
from tests.refusing import ERROR, NAME, refuse
from tests.support import ROOT
from usher.core.domain import outbox_attempts
from usher.core.domain.outbox_view import AT_WORK
from usher.core.store.outbox_rows import mark_silent
from usher.core.store.tables import AUDIT, CONSUMERS
from usher.server import handler_child
from usher.server.handler_child import list_handlers

ADA = "ada@example.com"


def wait(program: Program) -> list[dict[str, Any]]:
    """Two changes of one person wait; the oldest first."""
    program.sign_up(ADA)
    with program.app() as app:
        refuse(app)
    for role in ("editor", "author"):
        program("users", "grant", ADA, role)
    with program.app() as app:
        refuse(app)
    found: list[dict[str, Any]] = program.json("outbox", "list")["changes"]
    return found[::-1]


def age(program: Program) -> None:
    """Let it be long ago that a server worked for a consumer."""
    with program.app() as app, app.store.write() as transaction:
        long_ago = app.clock() - AT_WORK
        transaction.sql.execute(update(CONSUMERS).values(seen_at=long_ago))


def test_what_waits_is_listed_and_shown(on_both: Program) -> None:
    """With the consumers; one that stands behind another names it."""
    first, second = wait(on_both)
    words = on_both("outbox", "list").stdout
    consumer, table = words.split("\n\n")
    assert consumer.splitlines()[1].split()[:4] == [NAME, "0", "2", "0"]
    assert ERROR in table
    assert "role.granted editor" in table
    assert "behind another" in table
    assert "More: --cursor" in on_both("outbox", "list", "--limit", "1").stdout
    shown = on_both("outbox", "show", str(second["number"])).stdout
    assert f"behind number {first['number']}" in shown
    assert "cli:operator" in shown
    with on_both.app() as app, app.store.write() as transaction:
        entry = AUDIT.c.sequence == second["sequence"]
        transaction.sql.execute(delete(AUDIT).where(entry))
    assert on_both.json("outbox", "show", str(second["number"]))["actor"] is None
    assert "by        -" in on_both("outbox", "show", str(second["number"])).stdout
    found = on_both.json("outbox", "show", str(first["number"]))
    assert (found["error"], found["behind"], found["tries"]) == (ERROR, None, 1)
    for options in (("--state", "dead"), ("--consumer", "sink:x")):
        assert on_both("outbox", "list", *options).stdout == "No matches.\n"
    mine = on_both.json("outbox", "list", "--user", ADA, "--consumer", NAME, "--state", "waiting")
    assert mine["changes"] == [second, first]


def test_changes_are_retried_and_skipped_by_number(program: Program) -> None:
    """A skipped one lets the next go; one that is gone is an error."""
    first, second = wait(program)
    numbers = [str(first["number"]), str(second["number"])]
    assert "2 changes will be handed over" in program("outbox", "retry", *numbers).stdout
    skipped = program("outbox", "skip", numbers[0], "--reason", "done by hand").stdout
    assert skipped == f"{NAME} will not get role.granted editor of {first['user_id']}.\n"
    (left,) = program.json("outbox", "list")["changes"]
    assert (left["number"], left["due_at"] is None) == (second["number"], False)
    gone = program("outbox", "show", numbers[0], code=1).output
    assert f"No change in the outbox has the number {numbers[0]}." in gone
    assert program.json("outbox", "skip", numbers[1])["skipped"][0]["number"] == second["number"]
    assert "No change waits" in program("outbox", "list").stdout
    assert "done by hand" in program("audit").stdout


def test_all_dead_letters_of_a_consumer_are_retried(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing else; it is either numbers or a consumer."""
    with monkeypatch.context() as few:
        few.setattr(outbox_attempts, "MAX_TRIES", 1)
        first, _ = wait(program)
    assert first["state"] == "dead"
    assert "never" in program("outbox", "show", str(first["number"])).stdout
    assert program.json("outbox", "retry", "--dead", NAME) == {"retried": 2}
    assert program.json("outbox", "list", "--state", "dead")["changes"] == []
    assert program.json("outbox", "retry", "--dead", NAME) == {"retried": 0}
    unknown = program("outbox", "retry", "--dead", "handler:none", code=1).output
    assert "No consumer 'handler:none' is known here" in unknown
    for arguments in ((), ("1", "--dead", NAME)):
        assert "or --dead with a consumer" in program("outbox", "retry", *arguments, code=2).output


def test_without_a_consumer_it_says_how_to_have_one(program: Program) -> None:
    """There is nothing to list."""
    words = program("outbox", "list").stdout
    assert "No consumer yet" in words
    assert program.json("outbox", "list") == {"consumers": [], "changes": [], "next_cursor": None}


def test_an_event_and_a_person_show_what_they_led_to(program: Program) -> None:
    """With those who do not have it, and why."""
    first, _ = wait(program)
    program("users", "grant", ADA, "owner")
    words = program("users", "show", ADA).stdout
    assert f"{NAME} (to come)" in words
    assert f"{NAME} (waiting, number {first['number']})" in words
    (event,) = program.json("events", "list")["events"]
    shown = program("events", "show", event["id"]).stdout
    assert "user.confirmed" in shown
    led = program.json("events", "show", event["id"])["led_to"]
    assert [each["kind"] for each in led][:2] == ["user.created", "user.confirmed"]
    assert all(each["outstanding"] == [] for each in led)  # the consumer began later


def test_what_was_played_back_is_told_to_nobody(program: Program) -> None:
    """And says so."""
    program.sign_up(ADA)
    with program.app() as app:
        delivery = app.store.ledger.page().items[0]
        played = app.outbox.led_by_event(delivery)
        assert all(each.told for each in played)
    program("users", "grant", ADA, "editor")
    with program.app() as app, app.store.write() as transaction:
        entry = app.store.users.audit_page().items[0]
        mark_silent(transaction.sql, entry)
    assert "anybody: it was played back" in program("users", "show", ADA).stdout


def test_a_handler_that_is_there_is_not_forgotten(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would begin anew, and never get what waits; nor while nobody knows whether it is there."""
    assert list_handlers is handler_child.list_handlers  # whose processes the command starts
    wait(program)
    age(program)
    monkeypatch.setenv("USHER_HANDLERS", "some_hooks")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    hooks = tmp_path / "some_hooks.py"
    text = "from usher import after\n@after('*', name={0!r})\ndef f(change): ...\n"
    for written, said, code in (
        (text.format(NAME.partition(":")[2]), "so it would begin anew", 1),
        ("1 / 0", "some_hooks cannot be imported", 1),
        (text.format("another"), "2 changes with it", 0),
    ):
        hooks.write_text(written)
        assert said in program("outbox", "forget", NAME, code=code).output


def test_a_handler_that_is_gone_is_forgotten_with_what_waits(on_both: Program) -> None:
    """In the audit; a sink, or a name that nobody ever had, is an error."""
    wait(on_both)
    assert "within the last five minutes" in on_both("outbox", "forget", NAME, code=1).output
    age(on_both)
    assert on_both("outbox", "forget", NAME, "--reason", "gone").stdout == (
        f"{NAME} is forgotten, and 2 changes with it.\n"
    )
    assert on_both.json("outbox", "list") == {"consumers": [], "changes": [], "next_cursor": None}
    assert "gone" in on_both("audit", "--action", "outbox.forgotten").stdout
    sink = on_both.json("sinks", "add", "https://crm.example/")["id"]
    for name in (NAME, f"sink:{sink}"):
        assert "No handler" in on_both("outbox", "forget", name, code=1).output
    assert len(on_both.json("outbox", "list")["consumers"]) == 1
