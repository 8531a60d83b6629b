"""Faults on request: what each does to the events and to the person."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from tests.emulator.world import World, reply_json

Make = Callable[..., World]


def put(world: World, *rules: dict[str, Any]) -> dict[str, Any]:
    """Put rules in force."""
    reply = world.call("PUT", "/_dev/faults", {"rules": list(rules)})
    assert reply.status == 200, reply.text
    document: dict[str, Any] = reply.json
    return document


def test_there_are_none_at_first(quiet: World) -> None:
    """Nothing goes wrong by itself."""
    assert quiet.call("GET", "/_dev/faults").json == {"rules": [], "held_back": 0}


def test_rules_are_shown_with_what_is_left_of_them(loud: World) -> None:
    """The next N, then no more; null: until they are replaced."""
    put(loud, {"fault": "drop", "event": "validate", "count": 2}, {"fault": "delay"})
    loud.sign_up()
    assert loud.call("GET", "/_dev/faults").json["rules"] == [
        {"fault": "drop", "event": "validate", "count": 1},
        {"fault": "delay", "event": "*", "count": None, "seconds": 0.0},
    ]
    assert put(loud)["rules"] == []


def test_a_dropped_event_is_never_sent_and_nobody_notices(loud: World) -> None:
    """The next one is sent again."""
    put(loud, {"fault": "drop", "event": "signup", "count": 1})
    loud.member()
    assert loud.log_in().status == 200
    assert loud.events == ["validate", "login"]


def test_a_delayed_event_was_signed_before(loud: World) -> None:
    """So its iat is as old as the delay is long."""
    put(loud, {"fault": "delay", "event": "validate", "seconds": 0.3, "count": 1})
    started = monotonic()
    loud.sign_up()
    assert monotonic() - started >= 0.3
    assert loud.events == ["validate"]


def test_rolled_back_after_the_hook_had_answered(loud: World) -> None:
    """The receiver knows of somebody who does not exist."""
    put(loud, {"fault": "rollback", "event": "validate", "count": 1})
    reply = loud.sign_up()
    assert (reply.status, reply.json["msg"]) == (
        500,
        "Rolled back after the hook, as /_dev/faults asked",
    )
    assert loud.events == ["validate"]
    assert loud.admin("GET", "/admin/users").json["users"] == []
    assert loud.mails == []
    assert loud.sign_up().status == 200


def test_a_login_that_is_rolled_back_loses_the_hooks_answer(make: Make) -> None:
    """Its metadata is not stored; the next login is as if the first had not been."""
    world = make(
        lambda event, _: reply_json({"app_metadata": {"n": 1}}) if event == "login" else 204
    )
    user_id = world.member()
    put(world, {"fault": "rollback", "event": "login", "count": 1})
    assert world.log_in().status == 500
    user = world.admin("GET", f"/admin/users/{user_id}").json
    assert user["app_metadata"] == {"provider": "email"}
    assert world.log_in().status == 200


def test_what_is_committed_is_not_rolled_back(loud: World) -> None:
    """The rule waits for an event that can be."""
    user_id = loud.member()
    put(loud, {"fault": "rollback", "count": 1})
    path = f"/admin/users/{user_id}"
    assert loud.admin("PUT", path, {"role": "x"}).status == 200
    assert loud.admin("GET", path).json["role"] == "x"
    assert loud.log_in().status == 500


def test_a_duplicate_is_the_same_request_again(make: Make) -> None:
    """Same bytes, same signature; only the first answer counts."""
    world = make(lambda _event, number: reply_json({"user_metadata": {"n": number}}))
    put(world, {"fault": "duplicate", "event": "validate", "count": 1})
    assert world.sign_up().json["user_metadata"] == {"n": 1}
    assert world.stub is not None
    one, two = world.stub.requests
    assert one == two


def test_a_held_back_event_comes_after_the_next_one(loud: World) -> None:
    """The person does not wait for it."""
    put(loud, {"fault": "reorder", "event": "signup", "count": 1})
    loud.member()
    assert loud.events == ["validate"]
    assert loud.call("GET", "/_dev/faults").json["held_back"] == 1
    loud.log_in()
    assert loud.events == ["validate", "login", "signup"]
    assert loud.call("GET", "/_dev/faults").json["held_back"] == 0


def test_held_back_events_come_even_when_the_next_is_refused(make: Make) -> None:
    """They were only late."""
    world = make(lambda event, _number: 403 if event == "login" else 204)
    put(world, {"fault": "reorder", "event": "signup", "count": 1})
    world.member()
    assert world.log_in().status == 422
    assert world.events == ["validate", *["login"] * 3, "signup"]


def test_the_first_rule_that_fits_counts(loud: World) -> None:
    """One fault at a time."""
    put(loud, {"fault": "drop", "count": 1}, {"fault": "duplicate", "count": 1})
    loud.sign_up()
    loud.confirm()
    assert loud.events == ["signup", "signup"]


@pytest.mark.parametrize(
    "body",
    [
        [], {}, {"rules": {}}, {"rules": [1]}, {"rules": [], "x": 1}, {"rules": [{}]},
        {"rules": [{"fault": "crash"}]}, {"rules": [{"fault": ["drop"]}]},
        {"rules": [{"fault": "drop", "event": "logout"}]},
        {"rules": [{"fault": "drop", "count": -1}]}, {"rules": [{"fault": "drop", "count": True}]},
        {"rules": [{"fault": "drop", "count": 1.5}]}, {"rules": [{"fault": "drop", "x": 1}]},
        {"rules": [{"fault": "drop", "seconds": 1}]},
        {"rules": [{"fault": "delay", "seconds": -1}]},
        {"rules": [{"fault": "delay", "seconds": 601}]},
        {"rules": [{"fault": "delay", "seconds": "1"}]},
        {"rules": [{"fault": "drop"}] * 51},
    ],
)  # fmt: skip
def test_rules_that_are_none_are_refused_whole(quiet: World, body: Any) -> None:
    """400 with a sentence; the old rules stay in force."""
    old = put(quiet, {"fault": "drop", "count": 3})
    reply = quiet.call("PUT", "/_dev/faults", json.dumps(body))
    assert (reply.status, reply.json["code"]) == (400, 400)
    assert quiet.call("GET", "/_dev/faults").json == old
