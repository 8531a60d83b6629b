"""Schemathesis asks the running server everything that the OpenAPI document allows, and forbids."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.api.api_support import JWT_SECRET, bearer
from tests.profiles import examples
from tests.refusing import NAME, refuse
from tests.support import Server, account, clean_environment, signed
from usher.core.app import App, use
from usher.core.domain import outbox_attempts
from usher.core.settings import Settings
from usher.functions.api_methods import OPERATIONS

# What an administrator reaches with the id of a user at hand; events' ids are not users'.
REACHED = {
    operation.path
    for operation in OPERATIONS
    if "/events/{id}" not in operation.path and operation.path not in ("/roles/{role}", "/door")
}


DECIDED_ONCE = {
    "/me/requests/{number}",  # the user's, not the administrator's
    "/requests/{number}/approve",
    "/requests/{number}/decline",
    *(path for path in REACHED if path.startswith("/outbox/{number}")),  # gone once it is skipped
    "/outbox/forget",  # of a handler that was at work a moment ago
    *(path for path in REACHED if path.startswith("/sinks/{sink}")),  # removed by the first DELETE
}

OUTBOX = f"""
[dictionaries]
consumers = {{ values = ["{NAME}"] }}

[[operations]]
include-path-regex = "^/outbox/"
parameters = {{ "path.number" = "DEAD" }}

[[operations]]
include-path = "/outbox/retry"
parameters = {{ "body.consumer" = {{ dictionary = "consumers", probability = 0.5 }} }}
"""
"""The change and the consumer that the outbox is asked for."""


def called(server: Server, token: str, method: str, path: str, body: bytes = b"") -> Any:
    """What a call answers."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    asked = urllib.request.Request(f"{server.url}/api{path}", body or None, headers, method=method)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.load(answer)


def dead_letter(server: Server, token: str, settings: Settings, user: UUID) -> int:
    """The number of a change of somebody that a handler, known from now on, never took."""
    with use(App(settings)) as app:
        refuse(app)
        called(server, token, "PUT", f"/users/{user}/roles/editor")
        refuse(app)
    (change,) = called(server, token, "GET", "/outbox?state=dead")["changes"]
    number: int = change["number"]
    return number


def answers(server: Server) -> list[dict[str, object]]:
    """The server's log lines of API requests."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line[:1] == "{"]
    assert [line for line in lines if line["event"] == "request.failed"] == []
    return [line for line in lines if line["event"] == "api.answered"]


@pytest.mark.parametrize(
    ("database", "caller", "ids"),
    [
        ("sqlite", "administrator", "any"),  # ids of nobody: neither database finds anything
        ("postgresql", "administrator", "real"),
        ("sqlite", "user", "real"),  # refused before any database is asked for more than the caller
    ],
)
def test_every_answer_is_as_described_and_none_a_server_error(
    start_server: Callable[..., Server],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    make_settings: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
    database: str,
    caller: str,
    ids: str,
) -> None:
    """As an administrator and as a user, with ids of nobody and of somebody.

    Left out are two checks: that whatever fits the schema is accepted (a schema cannot say which
    cursors there are, or which version a record is at), and that what was deleted is gone (a
    tombstone stays, and is shown as one). The door takes a second for each answer, so that only the
    user asks it.
    """
    door = ["--exclude-path=/door"] if caller == "administrator" else []
    url = request.getfixturevalue(f"{database}_url")
    server = start_server(
        url,
        USHER_JWT_SECRET=JWT_SECRET.decode(),
        USHER_API_REQUESTS_PER_MINUTE="0",  # one person asks more than a thousand times
        USHER_DOOR="on",
        USHER_DOOR_LIMIT="none, in this test",
    )
    now = datetime.now(UTC)
    people = {
        "administrator": account(email="owner@example.com", at=now),
        "user": account(email="ada@example.com", at=now),
    }
    for who in people.values():
        assert server.post(signed("signup", who, at=now)).status in (200, 204)
    configured = '[parameters]\n"query.wait" = 0\n'  # a long poll takes its time
    if ids == "real":
        mine, callers = (bearer(people[name].id, now) for name in ("user", caller))
        number = called(server, mine, "POST", "/me/requests", b'{"role": "author"}')["id"]
        configured += f'"path.id" = "{people["user"].id}"\n"path.number" = "{number}"\n'
        if caller == "administrator":
            body = b'{"url": "https://localhost:1024"}'
            sink = called(server, callers, "POST", "/sinks", body)["id"]
            monkeypatch.setattr(outbox_attempts, "MAX_TRIES", 1)
            dead = dead_letter(server, callers, make_settings(database_url=url), people["user"].id)
            configured += f'"path.sink" = "{sink}"\n{OUTBOX}'.replace("DEAD", str(dead))
    (tmp_path / "schemathesis.toml").write_text(configured)
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{server.url}/api/openapi.json",
            f"--url={server.url}/api",
            f"--header=Authorization: Bearer {bearer(people[caller].id, now)}",
            f"--max-examples={examples(8)}",
            *door,
            "--exclude-checks=positive_data_acceptance,use_after_free",
            "--generation-deterministic",
            "--suppress-health-check=all",
            "--continue-on-failure",
            "--no-shrink",
            "--no-color",
            "--warnings=off",
        ],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-2_000:]
    seen = answers(server)
    assert len(seen) > 400
    good = {line["route"] for line in seen if line["status"] in (200, 201, 204) and "route" in line}
    if caller == "user":
        reached = {"/me", "/me/requests", "/policy/me", "/health", "/openapi.json", "/door"}
        assert good - {"/me/requests/{number}"} == reached
    elif ids == "real":
        assert good >= REACHED - {"/users/{id}/roles/{role}", *DECIDED_ONCE}
