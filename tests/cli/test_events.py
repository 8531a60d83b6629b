"""``usher events``: the ledger read by people and programs."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from tests.cli.conftest import Program
from tests.support import account, call, signed


@pytest.fixture
def busy(on_both: Program) -> Program:
    """Five deliveries: admitted, denied, back again, unchanged, deleted."""
    (ada,) = on_both.sign_up("ada@example.com")
    on_both.deliver("signup", "x@mailinator.com")
    on_both.deliver("login", "ada@example.com", user_id=ada)
    (bob,) = on_both.sign_up("bob@b.example")
    on_both.deliver("userdeleted", "bob@b.example", user_id=bob)
    return on_both


# filters, events listed (newest first)
FILTERS: list[tuple[list[str], list[str]]] = [
    ([], ["userdeleted", "signup", "login", "signup", "signup"]),
    (["--event", "signup"], ["signup", "signup", "signup"]),
    (["--outcome", "denied"], ["signup"]),
    (["--outcome", "ignored"], []),
    (["--user", "ada@example.com"], ["login", "signup"]),
    (["--user", "ADA@example.com", "--event", "login"], ["login"]),
    (["--limit", "2"], ["userdeleted", "signup"]),
    (["--event", "signup", "--outcome", "applied", "--limit", "1"], ["signup"]),
]


def test_filters_narrow_the_list(busy: Program) -> None:
    """Each alone and several together; newest first."""
    for filters, expected in FILTERS:
        listed = busy.json("events", "list", *filters)["events"]
        assert [event["event"] for event in listed] == expected, filters


def test_pages_follow_one_another(busy: Program) -> None:
    """The hint under the table leads to the next page."""
    ids, hint = [], ["--limit", "2"]
    for _ in range(3):
        ids += [event["id"] for event in busy.json("events", "list", *hint)["events"]]
        last = busy("events", "list", *hint).stdout.splitlines()[-1]
        hint = ["--limit", "2", *last.removeprefix("More: ").split()]
    assert ids == [event["id"] for event in busy.json("events", "list")["events"]]
    assert not last.startswith("More:")


def test_the_table_names_the_deciding_rule(program: Program) -> None:
    """Without opening a single event."""
    program.deliver("signup", "x@mailinator.com")
    rows = [line.split() for line in program("events", "list").stdout.splitlines()]
    assert rows[1][3:7] == ["signup", "denied", "403", "admission.deny_email_domains"]


def test_an_empty_ledger_says_what_to_try(program: Program) -> None:
    """With --json it is an empty list."""
    assert "usher trigger signup" in program("events", "list").stdout
    assert program.json("events", "list") == {"events": [], "next_cursor": None}


def test_show_explains_the_decision(program: Program) -> None:
    """What came, what was answered, and every rule that took part."""
    ada = program.deliver("signup", "ada@example.com", proven=False)
    (event,) = program.json("events", "list")["events"]
    shown = program("events", "show", event["id"][:12]).stdout
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert f"id {event['id']}" in lines
    assert f"user {ada}" in lines
    assert "outcome applied" in lines
    assert 'answer 200 {"app_metadata":{"provider":"email","roles":["member"]}}' in lines
    assert "admission.default everyone is admitted by default" in lines
    assert "role.1 grants 'member' to everybody" in lines
    assert "role.2 no 'staff': nobody proved the address yet" in lines


def test_json_holds_the_whole_delivery(program: Program) -> None:
    """With the body as it came and the reply as it went."""
    ada = program.deliver("signup", "ada@example.com")
    (event,) = program.json("events", "list")["events"]
    shown = program.json("events", "show", event["id"])
    assert {name: shown[name] for name in shown if name != "led_to"} == event
    assert event["user_id"] == str(ada)
    assert event["instance_id"] == str(UUID(int=0))
    assert event["key_index"] == 0
    assert event["reply"]["status"] == 200
    assert event["path"] == "/.netlify/functions/identity-signup"
    assert json.loads(event["body"])["user"]["email"] == "ada@example.com"
    assert datetime.fromisoformat(event["received_at"]) >= datetime.fromisoformat(
        event["issued_at"]
    )


def test_the_body_can_be_had_byte_for_byte(program: Program) -> None:
    """As it was signed, and nothing else."""
    now = datetime.now(UTC)
    delivery = signed("signup", account(email="zoë@example.com", at=now), at=now)
    with program.app():
        call(delivery)
    (event,) = program.json("events", "list")["events"]
    assert program("events", "show", event["id"], "--body").stdout_bytes == delivery.body


def test_an_erased_body_is_said_to_be_gone(program: Program, tmp_path: Path) -> None:
    """Its digest stays."""
    program.sign_up("ada@example.com")
    (event,) = program.json("events", "list")["events"]
    connection = sqlite3.connect(tmp_path / "usher.db")
    with connection:
        connection.execute("UPDATE deliveries SET body = NULL")
    connection.close()
    result = program("events", "show", event["id"], "--body", code=1)
    assert (result.stdout, "erased" in result.stderr) == ("", True)
    left = program.json("events", "show", event["id"])
    assert (left["body"], left["body_digest"]) == (None, event["body_digest"])


@pytest.mark.parametrize(
    ("prefix", "fact"),
    [("abc", " 6 "), ("", " 6 "), ("abcdef", "'abcdef'"), ("%%%%%%", "'%%%%%%'")],
)
def test_an_event_that_is_not_there(program: Program, prefix: str, fact: str) -> None:
    """One line, exit code 1: what it looked for, or how much of an id it needs."""
    result = program("events", "show", prefix, code=1)
    (line,) = result.stderr.splitlines()
    assert (result.stdout, fact in line) == ("", True)


def test_the_beginning_of_an_id_is_enough_while_it_is_the_only_one(on_both: Program) -> None:
    """Ids begin with their time, so two of one minute share their first characters."""
    on_both.sign_up("a@b.example", "c@d.example")
    ids = [event["id"] for event in on_both.json("events", "list")["events"]]
    assert repr(ids[0][:6]) in on_both("events", "show", ids[0][:6], code=1).stderr
    for event_id in ids:
        assert on_both.json("events", "show", event_id[:20])["id"] == event_id


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "--event", "signin"],
        ["list", "--outcome", "good"],
        ["list", "--limit", "0"],
        ["list", "--since", "yesterday"],
        ["show"],
    ],
)
def test_wrong_usage_exits_with_2(program: Program, arguments: list[str]) -> None:
    """And shows the usage on standard error."""
    assert re.match(r"Usage: .+ events ", program("events", *arguments, code=2).stderr)


def test_a_rule_that_speaks_of_many_roles_is_listed_once(program: Program) -> None:
    """The list stays readable, and ``events show`` has every reason."""
    metadata = {"provider": "email", "roles": [f"r{number}" for number in range(100)]}
    program.deliver("signup", "ada@x.example", app_metadata=metadata)
    listed = program("events", "list").stdout
    assert listed.count("identity.added") == 1
    (event,) = program.json("events", "list")["events"]
    assert program("events", "show", event["id"]).stdout.count("identity.added") == 100


def test_events_of_nobody_are_an_error_not_an_empty_list(program: Program) -> None:
    """A misspelt address must not look like a person without events."""
    result = program("events", "list", "--user", "ada@example.com", code=1)
    assert (result.stdout, "'ada@example.com'" in result.stderr) == ("", True)


@pytest.mark.parametrize(
    "cursor", ["0", "-1", "9" * 30, "\x00", "ä", "eyJvIjoicmVjZWl2ZWQiLCJwIjpbXX0"]
)
@pytest.mark.parametrize("listing", [["events", "list"], ["users", "list"], ["audit"]])
def test_a_cursor_that_is_none_is_an_error(
    on_both: Program, listing: list[str], cursor: str
) -> None:
    """With a sentence, never a traceback."""
    on_both.sign_up("a@b.example")
    result = on_both(*listing, "--cursor", cursor, code=1)
    assert (result.stdout, "cursor" in result.stderr) == ("", True)
