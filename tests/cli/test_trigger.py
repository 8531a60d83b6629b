"""``usher trigger``: what is sent, how often, and what is said about the answer."""

from __future__ import annotations

import json
import re
from typing import Any
from uuid import UUID

import pytest

from tests.cli.conftest import Program
from tests.stub import HANG, Stub, answering
from tests.support import SECRET, free_port
from usher.cli.serve import serve
from usher.cli.trigger import trigger
from usher.core.app import utc_now
from usher.core.jws import verify_event
from usher.emulator import sender


def body_of(stub: Stub) -> dict[str, Any]:
    """The only body that arrived."""
    ((_, _, body),) = stub.requests
    found: dict[str, Any] = json.loads(body)
    return found


def send(program: Program, *arguments: str) -> dict[str, Any]:
    """Trigger against a server that accepts, and return the body that it got."""
    with answering(204) as stub:
        program("trigger", *arguments, "--url", stub.url)
        return body_of(stub)


@pytest.mark.parametrize("event", ["validate", "signup", "login", "usermodified", "userdeleted"])
def test_every_event_goes_to_its_function(program: Program, event: str) -> None:
    """The body names it, and our functions take it."""
    with program.door() as door:
        hook = f"{door.url}/.netlify/functions/identity-{event}"
        sent = program.json("trigger", event, "--url", hook)
    assert json.loads(sent["body"])["event"] == event
    assert sent["attempts"][0]["status"] in (200, 204)


def test_the_default_address_is_the_functions_of_usher_dev() -> None:
    """Where `usher dev` and `usher serve` listen unless told otherwise."""
    (url,) = [option for option in trigger.params if option.name == "url"]
    (port,) = [option for option in serve.params if option.name == "port"]
    assert f"http://127.0.0.1:{port.default}" in str(getattr(url, "help", ""))


def test_the_newest_secret_signs(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at Identity after a rotation; the signature is good for the exact body."""
    newest = "n" * 16 + "0123456789abcdef"
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", f"{newest},{SECRET.decode()}")
    with answering(204) as stub:
        program("trigger", "signup", "--url", stub.url)
    _, headers, body = stub.requests[0]
    signature = headers["x-webhook-signature"]
    claims = verify_event([signature], body, [newest.encode()], utc_now().timestamp())
    assert claims.instance_id == UUID(int=0)
    assert headers["x-netlify-event"] == "identity_signup"


# arguments, field of the user, value
FIELDS: list[tuple[list[str], str, Any]] = [
    ([], "email", "ada@example.com"),
    (["--email", "Bob <b@c.example>"], "email", "Bob <b@c.example>"),
    ([], "user_metadata", None),
    (["--name", "Ada"], "user_metadata", {"full_name": "Ada"}),
    (
        ["--data", "n=1", "--data", "b=true", "--data", "t=x", "--data", 'o={"a":[1]}'],
        "user_metadata",
        {"n": 1, "b": True, "t": "x", "o": {"a": [1]}},
    ),
    (
        ["--name", "Ada", "--data", "x=a=b", "--data", "e="],
        "user_metadata",
        {"full_name": "Ada", "x": "a=b", "e": ""},
    ),
    ([], "app_metadata", {"provider": "email"}),
    (["--provider", "google"], "app_metadata", {"provider": "google"}),
    (
        ["--app-data", 'roles=["vip"]', "--app-data", "plan=pro"],
        "app_metadata",
        {"plan": "pro", "provider": "email", "roles": ["vip"]},
    ),
    (["--user-id", "5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51"], "id", None),
]


@pytest.mark.parametrize(("arguments", "field", "value"), FIELDS)
def test_options_become_fields_of_the_body(
    program: Program, arguments: list[str], field: str, value: Any
) -> None:
    """Values are JSON where they can be read as such, text otherwise."""
    expected = arguments[-1] if field == "id" else value
    assert send(program, "signup", *arguments)["user"][field] == expected


# arguments, which of the proofs the body carries
PROOFS: list[tuple[list[str], set[str]]] = [
    (["validate"], set()),
    (["signup"], {"confirmation_sent_at"}),
    (["signup", "--unproven"], set()),
    (["signup", "--provider", "google"], set()),
    (["login"], {"confirmation_sent_at", "confirmed_at"}),
    (["login", "--unproven"], set()),
    (["login", "--provider", "google"], {"confirmed_at"}),
]


@pytest.mark.parametrize(("arguments", "present"), PROOFS)
def test_the_body_carries_what_identity_has_at_that_moment(
    program: Program, arguments: list[str], present: set[str]
) -> None:
    """Signup fires before ``confirmed_at`` is set; autoconfirm leaves no trace of a mail."""
    user = send(program, *arguments)["user"]
    assert {"confirmation_sent_at", "confirmed_at"} & set(user) == present


def test_the_same_address_is_the_same_user_unless_new(program: Program) -> None:
    """So that a login follows a signup without copying ids."""
    first = send(program, "signup")["user"]["id"]
    assert send(program, "login")["user"]["id"] == first
    assert send(program, "signup", "--email", "b@c.example")["user"]["id"] != first
    assert send(program, "signup", "--new")["user"]["id"] != first


def test_another_instance_can_be_played(program: Program) -> None:
    """In the body and, signed, in the claims."""
    instance = "00000000-0000-0000-0000-000000000007"
    assert send(program, "signup", "--instance-id", instance)["instance_id"] == instance


def test_an_unproven_owner_gets_no_admin_role(program: Program) -> None:
    """Whoever types the owner's address into an open signup form is not the owner."""
    with program.door() as door:
        hook = f"{door.url}/.netlify/functions/identity-signup"
        arguments = ["trigger", "signup", "--email", "owner@example.com", "--url", hook]
        unproven = program.json(*arguments, "--unproven", "--new")
        proven = program.json(*arguments)
    assert program.roles(unproven["user_id"]) == ["member"]
    assert program.roles(proven["user_id"]) == ["admin", "member", "staff"]


def test_a_provider_vouches_for_the_address(program: Program) -> None:
    """No mail is needed with an external login."""
    with program.door() as door:
        hook = f"{door.url}/.netlify/functions/identity-signup"
        sent = program.json("trigger", "signup", "--provider", "google", "--url", hook)
    assert program.roles(sent["user_id"]) == ["member", "staff"]


def test_json_holds_the_body_and_every_attempt(program: Program) -> None:
    """For programs: nothing else on standard output, the exit code as ever."""
    with answering(500, (403, {}, b'{"detail":"no"}')) as stub:
        sent = program.json("trigger", "signup", "--url", stub.url, code=1)
    assert sent["body"].encode() == stub.requests[0][2]
    assert UUID(sent["user_id"])
    assert [attempt["number"] for attempt in sent["attempts"]] == [1, 2, 3]
    assert [attempt["status"] for attempt in sent["attempts"]] == [500, 403, 403]
    assert sent["attempts"][2]["body"] == '{"detail":"no"}'
    assert {attempt["error"] for attempt in sent["attempts"]} == {""}


# answers of the server, exit code, number of attempts, the conclusion
CONCLUSIONS: list[tuple[tuple[int, ...], int, int, str]] = [
    ((204,), 0, 1, "Accepted. See: usher users show "),
    ((500, 500, 200), 0, 3, "Accepted."),
    ((403,), 1, 3, "Refused: Identity would answer the person's signup with 422."),
    ((201,), 1, 3, "Refused:"),
]


@pytest.mark.parametrize(("answers", "code", "count", "said"), CONCLUSIONS)
def test_every_attempt_is_shown_and_then_concluded(
    program: Program, answers: tuple[int, ...], code: int, count: int, said: str
) -> None:
    """As Identity does it: three attempts, the same bytes and signature each time."""
    with answering(*answers) as stub:
        output = program("trigger", "signup", "--url", stub.url, code=code).stdout
    assert output.count("attempt ") == count == len(stub.requests)
    assert said in output
    assert len({(headers["x-webhook-signature"], body) for _, headers, body in stub.requests}) == 1


def test_a_time_out_is_shown_and_tried_again(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as an attempt."""
    monkeypatch.setattr(sender, "TIMEOUT_SECONDS", 0.5)
    with answering(HANG, 204) as stub:
        output = program("trigger", "signup", "--url", stub.url).stdout
    assert "attempt 1: no answer within" in output
    assert "attempt 2: 204" in output


def test_a_refused_connection_is_the_end(program: Program) -> None:
    """Not tried again; the sentence says what to look at."""
    url = f"http://127.0.0.1:{free_port()}/"
    sent = program.json("trigger", "signup", "--url", url, code=1)
    (attempt,) = sent["attempts"]
    assert (attempt["status"], attempt["body"]) == (0, "")
    assert attempt["error"] == f"nothing answers at {url}; is the server running (make run)?"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["signin"],
        ["signup", "--data", "novalue"],
        ["signup", "--app-data", "=x"],
        ["signup", "--user-id", "me"],
        ["signup", "--instance-id", "x"],
        ["signup", "--unknown"],
    ],
)
def test_wrong_usage_exits_with_2(program: Program, arguments: list[str]) -> None:
    """And says what was wrong on standard error."""
    result = program("trigger", *arguments, code=2)
    assert re.match(r"Usage: .+ trigger ", result.stderr)


@pytest.mark.parametrize(
    "data", ['x="\\ud800"', "x=" + "[" * 100_000], ids=["half a surrogate pair", "too deep"]
)
def test_data_that_no_json_can_carry_is_no_traceback(program: Program, data: str) -> None:
    """Sent as text or refused as usage, but answered in a sentence."""
    url = f"http://127.0.0.1:{free_port()}/"
    program("trigger", "signup", "--data", data, "--url", url, code=(1, 2))
