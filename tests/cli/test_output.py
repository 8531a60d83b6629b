"""What others wrote is printed as text: it neither steers the terminal nor means markup."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from tests.cli.conftest import Program
from tests.stub import answering
from tests.support import SECRET, Signed, call
from usher.emulator.payload import ZERO_INSTANCE, go_json
from usher.emulator.sender import signed_headers

STEERING = "\x1b[5;31m\x1b]0;owned\x07\x9b2J\r\b\u202e"
MARKUP = "[red]x[/red][/] :smile:"
HOSTILE = f"{MARKUP}{STEERING}@example.com"


def harmless(output: str) -> None:
    """Nothing of ``STEERING``; our own bold and colours are other codes."""
    assert "\x1b[5" not in output
    assert "\x1b]" not in output
    for character in "\x07\x9b\r\b\u202e":
        assert character not in output, repr(character)


@pytest.fixture
def hostile(program: Program) -> Program:
    """A person who chose all of it, known by a login (no rule admits such an address)."""
    program.deliver(
        "login",
        HOSTILE,
        provider=f"p{MARKUP}{STEERING}",
        roles=["[red]x[/red]", "member"],
        user_metadata={"full_name": HOSTILE},
    )
    return program


@pytest.fixture
def hostile_id(hostile: Program) -> UUID:
    """That person's id."""
    return UUID(hostile.json("users", "list")["users"][0]["id"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["users", "list"],
        ["users", "show", "{id}"],
        ["users", "grant", "{id}", "[red]y[/red]", "--reason", STEERING],
        ["users", "suspend", "{id}", "--reason", STEERING],
        ["users", "reactivate", "{id}"],
        ["events", "list"],
        ["events", "show", "{event}"],
        ["policy", "explain", "{id}"],
        ["policy", "explain", HOSTILE],
        ["users", "show", HOSTILE + "x"],
        ["users", "list", "--cursor", STEERING],
        ["events", "show", STEERING],
        ["trigger", "signup", "--data", STEERING],
        ["trigger", STEERING],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_no_command_lets_it_reach_the_terminal(
    hostile: Program, hostile_id: UUID, arguments: list[str]
) -> None:
    """As on a terminal, with colours on; whatever the exit code."""
    event = hostile.json("events", "list")["events"][0]["id"]
    filled = [
        argument.replace("{id}", str(hostile_id)).replace("{event}", event)
        for argument in arguments
    ]
    harmless(hostile(*filled, color=True, code=(0, 1, 2)).output)


def test_the_question_before_a_deletion_is_harmless(hostile: Program, hostile_id: UUID) -> None:
    """It names the person."""
    result = hostile("users", "delete", str(hostile_id), input="n\n", color=True, code=1)
    harmless(result.output)


@pytest.mark.parametrize("email", ["[b]x[/b]@e.example", "x[/]@e.example", ":smile:@e.example"])
def test_markup_is_printed_as_it_is_written(program: Program, email: str) -> None:
    """Brackets stay brackets, and no word becomes a picture."""
    user_id = program.deliver("login", email, roles=["[red]x[/red]"])
    for output in (program("users", "list").stdout, program("users", "show", str(user_id)).stdout):
        assert email in output
        assert "[red]x[/red]" in output


def test_the_name_of_an_unknown_event_is_harmless(program: Program) -> None:
    """Signed by Identity, but any text."""
    body = go_json(
        {
            "event": MARKUP + STEERING,
            "instance_id": str(ZERO_INSTANCE),
            "user": {"id": str(uuid4())},
        }
    )
    now = int(datetime.now(UTC).timestamp())
    delivery = Signed("x", signed_headers("x", body, ZERO_INSTANCE, now, SECRET), body)
    with program.app():
        assert call(delivery, "identity")["statusCode"] == 204
    event = program.json("events", "list")["events"][0]["id"]
    harmless(program("events", "list", color=True).output)
    harmless(program("events", "show", event, color=True).output)


def test_a_servers_answer_is_harmless(program: Program) -> None:
    """`usher trigger --url` prints what any server says."""
    with answering((200, {}, STEERING.encode())) as stub:
        harmless(program("trigger", "signup", "--url", stub.url, color=True).output)


def test_json_keeps_the_exact_text(hostile: Program) -> None:
    """For programs: nothing is replaced; what steers old terminals is escaped by JSON."""
    printed = hostile("users", "list", "--json").stdout
    assert json.loads(printed)["users"][0]["email"] == HOSTILE
    assert not {"\x1b", "\x07", "\r", "\b"} & set(printed)
