"""``/api/sinks``: added with a secret told once, tried, rotated, paused, removed."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator

from tests.api.api_support import People, ask
from tests.support import free_port
from usher.core.domain.records import THE_SITE
from usher.core.domain.standard_webhooks import secret_octets, secret_text

URL = "https://crm.example/hooks/t0p-s3cret"
OWN = secret_text(bytes(range(32)))
ADDRESSES = (
    ("GET", "/sinks", None),
    ("POST", "/sinks", {"url": URL}),
    ("GET", "/sinks/{sink}", None),
    ("POST", "/sinks/{sink}/test", None),
    ("POST", "/sinks/{sink}/rotate", {"now": True}),
    ("POST", "/sinks/{sink}/pause", {"reason": "they move"}),
    ("POST", "/sinks/{sink}/resume", None),
    ("DELETE", "/sinks/{sink}", None),
)


def added(people: People, **body: Any) -> Any:
    """A new sink, as it was answered."""
    answer = people.ask("administrator", "POST", "/sinks", {"url": URL, **body})
    assert answer.status == 201, answer
    return answer.json


def test_answers_are_as_described(sqlite_people: People) -> None:
    """Each of this resource, by the OpenAPI document."""
    document = ask("GET", "/openapi.json").json
    made = added(sqlite_people)
    for method, path, body in ADDRESSES:
        if path.endswith("/test"):
            continue  # it would look the name up
        address = path.replace("{sink}", made["id"])
        answer = sqlite_people.ask("administrator", method, address, body)
        described = document["paths"][path][method.lower()]["responses"][str(answer.status)]
        if answer.status == 204:
            assert (answer.text, "content" in described) == ("", False)
        else:
            shape = described["content"]["application/json"]["schema"]
            schema = {**shape, "components": document["components"]}
            Draft202012Validator(schema).validate(answer.json)


def test_a_sink_is_added_with_a_secret_that_is_never_told_again(people: People) -> None:
    """By no other answer; in the audit stands who added it."""
    made = added(people, changes=["user.*"], full=True)
    secret = made.pop("secret")
    assert len(secret_octets(secret)) == 32
    boss = f"user:{people.ids['administrator']}"
    assert (made["changes"], made["full"], made["state"]) == (["user.*"], True, "active")
    assert made["created_by"] == boss
    path = f"/sinks/{made['id']}"
    assert people.ask("administrator", "GET", path).json == made
    assert people.ask("administrator", "GET", "/sinks").json == {"sinks": [made]}
    entries = people.ask("administrator", "GET", f"/audit?user={THE_SITE}")
    assert [each["action"] for each in entries.json["audit"]] == ["sink.added"]
    for answer in (entries, people.ask("administrator", "POST", f"{path}/pause")):
        assert secret not in answer.text


def test_a_sink_is_rotated_paused_resumed_and_removed(people: People) -> None:
    """Each act is told by the answer."""
    made = added(people, secret=OWN)
    assert made["secret"] == OWN
    path = f"/sinks/{made['id']}"

    def act(what: str, body: Any = None) -> Any:
        return people.ask("administrator", "POST", f"{path}/{what}", body).json

    rotated = act("rotate")
    assert rotated["secret"] != OWN
    assert rotated["old_secret_until"] == "2026-11-24T12:00:00Z"
    again = act("rotate", {"now": True, "secret": secret_text(bytes(32))})
    assert (again["secret"], again["old_secret_until"]) == (secret_text(bytes(32)), None)
    paused = act("pause", {"reason": "they move"})
    assert (paused["state"], paused["paused_at"]) == ("paused", "2026-11-23T12:00:00Z")
    assert paused["paused_by"] == f"user:{people.ids['administrator']}"
    resumed = act("resume")
    assert (resumed["state"], resumed["paused_at"], resumed["paused_by"]) == ("active", None, "")
    assert people.ask("administrator", "DELETE", path).status == 204
    assert people.ask("administrator", "GET", path).code == "sink_not_found"
    assert people.ask("administrator", "GET", "/sinks").json == {"sinks": []}


def test_a_trial_tells_what_came_of_it(sqlite_people: People) -> None:
    """The problem is a result, no error; an address that is not public is never connected to."""
    made = added(sqlite_people, url=f"https://localhost:{free_port()}/")
    answer = sqlite_people.ask("administrator", "POST", f"/sinks/{made['id']}/test")
    trial = answer.json
    assert (answer.status, trial["delivered"], trial["status"]) == (200, False, None)
    assert trial["problem"] == "the address is not public, and is not in USHER_SINK_NETWORKS"
    assert trial["elapsed_ms"] >= 0
    document = ask("GET", "/openapi.json").json
    shape = document["components"]["schemas"]["SinkTrial"]
    Draft202012Validator({**shape, "components": document["components"]}).validate(trial)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "input_invalid"),
        ({"url": 1}, "input_invalid"),
        ({"url": URL, "more": 1}, "input_invalid"),
        ({"url": URL, "changes": "user.*"}, "input_invalid"),
        ({"url": "https://a.example/" + "x" * 2_000}, "input_invalid"),
        ({"url": URL, "changes": []}, "sink_invalid"),
        ({"url": URL, "changes": ["user.eaten"]}, "sink_invalid"),
        ({"url": URL, "secret": "hunter2"}, "sink_invalid"),
        ({"url": "http://crm.example/"}, "sink_invalid"),
        ({"url": "https://ada@crm.example/"}, "sink_invalid"),
        ({"url": "https://127.0.0.1/"}, "sink_invalid"),
        ({"url": "https://2130706433/"}, "sink_invalid"),
        ({"url": "https://[::ffff:169.254.169.254]/"}, "sink_invalid"),
        ({"url": "https://169.254.169.254/latest/meta-data/"}, "sink_invalid"),
    ],
)
def test_a_sink_that_cannot_be_is_refused(
    sqlite_people: People, body: dict[str, Any], code: str
) -> None:
    """With 400, and nothing is kept."""
    answer = sqlite_people.ask("administrator", "POST", "/sinks", body)
    assert (answer.status, answer.code) == (400, code)
    assert sqlite_people.ask("administrator", "GET", "/sinks").json == {"sinks": []}


@pytest.mark.parametrize("sink", ["1", "x" * 36, "%00", str(THE_SITE)])
def test_a_sink_that_is_not_there(sqlite_people: People, sink: str) -> None:
    """For each address below it."""
    for method, path, body in ADDRESSES[2:]:
        address = path.replace("{sink}", sink)
        answer = sqlite_people.ask("administrator", method, address, body)
        assert (answer.status, answer.code) == (404, "sink_not_found")


@pytest.mark.parametrize("name", ["user", "other"])
def test_nobody_else_adds_or_sees_sinks(sqlite_people: People, name: str) -> None:
    """A sink is told of everybody, so it is an administrator's to add."""
    for method, path, body in ADDRESSES:
        address = path.replace("{sink}", str(uuid4()))
        assert sqlite_people.ask(name, method, address, body).code == "forbidden"
    assert sqlite_people.app.sinks.all() == []


def test_a_url_is_told_to_administrators_but_not_in_the_audit(sqlite_people: People) -> None:
    """Its path may be what a receiver knows its senders by."""
    added(sqlite_people)
    audit = sqlite_people.ask("administrator", "GET", f"/audit?user={THE_SITE}").json["audit"]
    assert "t0p-s3cret" not in json.dumps(audit)
    assert audit[0]["after"]["sink"]["host"] == "crm.example"
