"""``/api/outbox``: what waits and what failed, retried and skipped; and what led to what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace
from sqlalchemy import update

from tests.api.api_support import People, ask
from tests.refusing import ERROR, NAME, refuse
from tests.store.store_support import deliver
from tests.support import SECRET, Clock, account, signed
from usher.core.domain import outbox_attempts
from usher.core.domain.records import THE_SITE
from usher.core.store import outbox_rows
from usher.core.store.tables import CONSUMERS

ADDRESSES = (
    ("GET", "/outbox", None),
    ("POST", "/outbox/retry", {"consumer": NAME}),
    ("GET", "/outbox/{number}", None),
    ("POST", "/outbox/{number}/retry", {"reason": "it works again"}),
    ("POST", "/outbox/{number}/skip", None),
    ("GET", "/users/{id}/changes", None),
    ("POST", "/outbox/forget", {"consumer": NAME}),
)


def grant(people: People, *roles: str, who: str = "other") -> None:
    """Give somebody roles, each in an act of its own."""
    for role in roles:
        people.ask("administrator", "PUT", f"/users/{{{who}}}/roles/{role}")


def listed(people: People, query: str = "") -> list[dict[str, Any]]:
    """The changes of the outbox, the oldest first."""
    found: list[dict[str, Any]] = people.ask("administrator", "GET", f"/outbox{query}").json[
        "changes"
    ]
    return found[::-1]


def two_waiting(people: People) -> list[dict[str, Any]]:
    """One that failed, and one of the same person behind it."""
    refuse(people.app)
    grant(people, "editor", "author")
    refuse(people.app)
    return listed(people)


def two_dead(people: People, patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Two dead letters of one person."""
    with patch.context() as few:
        few.setattr(outbox_attempts, "MAX_TRIES", 1)
        return two_waiting(people)


def test_answers_are_as_described(sqlite_people: People, clock: Clock) -> None:
    """Each of this resource, by the OpenAPI document."""
    document = ask("GET", "/openapi.json").json
    number = two_waiting(sqlite_people)[0]["number"]
    clock.advance(minutes=5)  # no server works for it, so it can be forgotten
    for method, path, body in ADDRESSES:
        address = path.replace("{number}", str(number)).replace("{id}", "{other}")
        answer = sqlite_people.ask("administrator", method, address, body)
        described = document["paths"][path][method.lower()]["responses"][str(answer.status)]
        if answer.status == 204:
            assert (answer.text, "content" in described) == ("", False)
            continue
        assert answer.status == 200
        schema = described["content"]["application/json"]["schema"]
        whole = {**schema, "components": document["components"]}
        Draft202012Validator(whole).validate(answer.json)


def test_changes_that_wait_are_told_with_their_consumer(people: People) -> None:
    """The first one with its next attempt, the one behind it with none; by state and by user."""
    first, second = two_waiting(people)
    assert (first["consumer"], first["state"], first["kind"]) == (NAME, "waiting", "role.granted")
    assert (first["role"], first["tries"], first["error"]) == ("editor", 1, ERROR)
    assert (second["role"], second["tries"], second["due_at"]) == ("author", 0, None)
    assert first["due_at"] > first["failed_at"]
    one = people.ask("administrator", "GET", f"/outbox/{second['number']}").json
    assert (one["behind"], one["delivery_id"]) == (first["number"], None)
    assert one["actor"] == f"user:{people.ids['administrator']}"
    assert people.ask("administrator", "GET", f"/outbox/{first['number']}").json["behind"] is None
    standing = people.ask("administrator", "GET", "/outbox").json["consumers"][0]
    assert (standing["name"], standing["waiting"], standing["dead"]) == (NAME, 2, 0)
    assert (standing["behind"], standing["oldest_at"]) == (0, first["at"])
    assert listed(people, "?state=dead") == []
    assert listed(people, f"?user={people.ids['user']}") == []
    assert listed(people, f"?user={people.ids['other']}&consumer={NAME}") == [first, second]
    assert listed(people, "?limit=1") == [second]


def test_a_consumer_that_has_not_come_to_a_change_is_behind(people: People) -> None:
    """By as many entries; the oldest of them counts."""
    refuse(people.app)
    grant(people, "editor", "author")
    standing = people.ask("administrator", "GET", "/outbox").json["consumers"][0]
    assert (standing["behind"], standing["waiting"]) == (2, 0)
    changes = people.ask("administrator", "GET", "/users/{other}/changes").json["changes"]
    assert standing["oldest_at"] == changes[1]["at"]
    for change in changes[:2]:
        (each,) = change["outstanding"]
        assert (each["consumer"], each["state"], each["number"]) == (NAME, "to_come", None)
    assert changes[-1]["outstanding"] == []  # it began later


def test_a_change_is_retried_or_skipped_with_a_reason(people: People) -> None:
    """Those behind it go on; the audit has who did it, of the site."""
    first, second = two_waiting(people)
    path = f"/outbox/{first['number']}"
    again = people.ask("administrator", "POST", f"{path}/retry", {"reason": "mended"}).json
    assert (again["tries"], again["state"]) == (0, "waiting")
    assert again["due_at"] < first["due_at"]
    assert people.ask("administrator", "POST", f"{path}/skip", {"reason": "by hand"}).status == 204
    assert people.ask("administrator", "GET", path).code == "change_not_found"
    (left,) = listed(people)
    assert left["number"] == second["number"]
    assert left["due_at"] is not None
    audit = people.ask("administrator", "GET", f"/audit?user={THE_SITE}").json["audit"]
    told = {entry["action"]: (entry["reason"], entry["after"]["change_id"]) for entry in audit}
    assert told == {
        "outbox.retried": ("mended", first["change_id"]),
        "outbox.skipped": ("by hand", first["change_id"]),
    }


def test_all_dead_letters_of_a_consumer_are_retried(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order for each person, some at a time, and in the audit by their number."""
    first, second = two_dead(people, monkeypatch)
    assert [first["state"], second["state"]] == ["dead", "dead"]
    assert people.ask("administrator", "GET", "/outbox").json["consumers"][0]["dead"] == 2
    monkeypatch.setattr(outbox_rows, "MOST_RETRIED", 1)
    body = {"consumer": NAME, "reason": "they mended it"}
    answer = people.ask("administrator", "POST", "/outbox/retry", body)
    assert answer.json == {"retried": 1, "more": True}
    answer = people.ask("administrator", "POST", "/outbox/retry", body)
    assert answer.json == {"retried": 1, "more": False}
    answer = people.ask("administrator", "POST", "/outbox/retry", body)
    assert answer.json == {"retried": 0, "more": False}
    first, second = listed(people)
    assert {first["state"], second["state"]} == {"waiting"}
    assert first["due_at"] is not None
    assert second["due_at"] is None
    audit = people.ask("administrator", "GET", f"/audit?user={THE_SITE}").json["audit"]
    assert [entry["after"]["count"] for entry in audit] == [1, 1]


def test_a_handler_is_forgotten_with_all_that_waits_for_it(people: People, clock: Clock) -> None:
    """The audit has who did it, why, and how many changes; no sink goes that way."""
    two_waiting(people)
    for consumer in ("handler:nobody", f"sink:{uuid4()}", "", NAME.removeprefix("handler:")):
        answer = people.ask("administrator", "POST", "/outbox/forget", {"consumer": consumer})
        assert (answer.status, answer.code) == (404, "consumer_not_found")
    body = {"consumer": NAME, "reason": "renamed"}
    clock.advance(minutes=5)
    assert people.ask("user", "POST", "/outbox/forget", body).code == "forbidden"
    assert len(listed(people)) == 2
    answer = people.ask("administrator", "POST", "/outbox/forget", body)
    assert (answer.status, answer.json) == (200, {"forgotten": 2})
    document = people.ask("administrator", "GET", "/outbox").json
    assert (document["consumers"], document["changes"]) == ([], [])
    (entry,) = people.ask("administrator", "GET", f"/audit?user={THE_SITE}").json["audit"]
    assert (entry["action"], entry["reason"]) == ("outbox.forgotten", "renamed")
    assert entry["actor"] == f"user:{people.ids['administrator']}"
    assert entry["after"] == {"consumer": NAME, "count": 2}
    assert people.ask("administrator", "POST", "/outbox/forget", body).status == 404


def test_a_handler_that_a_server_works_for_is_not_forgotten(people: People, clock: Clock) -> None:
    """It would begin anew at once; five minutes after it was seen to last, nobody does."""
    two_waiting(people)
    body = {"consumer": NAME}
    clock.advance(minutes=4, seconds=59)
    refused = people.ask("administrator", "POST", "/outbox/forget", body)
    assert (refused.status, refused.code) == (409, "consumer_at_work")
    assert "`usher outbox skip`" in refused.json["detail"]
    assert len(listed(people)) == 2
    with people.app.store.write() as transaction:  # one call may take longer than five minutes
        lease = {"lease": uuid4(), "lease_until": clock() + timedelta(minutes=1)}
        one = update(CONSUMERS).where(CONSUMERS.c.name == NAME, CONSUMERS.c.shard == 3)
        transaction.sql.execute(one.values(lease))
    clock.advance(seconds=59)
    assert people.ask("administrator", "POST", "/outbox/forget", body).status == 409
    clock.advance(seconds=1)
    assert people.ask("administrator", "POST", "/outbox/forget", body).json == {"forgotten": 2}


def test_dead_letters_of_nobody_are_no_success(people: People) -> None:
    """A consumer that is misspelt would seem to have none."""
    answer = people.ask("administrator", "POST", "/outbox/retry", {"consumer": "handler:none"})
    assert (answer.status, answer.code) == (404, "consumer_not_found")


def test_an_event_and_a_person_tell_what_they_led_to(people: People) -> None:
    """An event its changes; a person all of them, the newest first, with who does not have them."""
    waiting = two_waiting(people)
    changes = people.ask("administrator", "GET", "/users/{other}/changes").json["changes"]
    for change, row in zip(changes[:2], waiting[::-1], strict=True):
        assert (change["id"], change["role"]) == (row["change_id"], row["role"])
        (each,) = change["outstanding"]
        assert (each["state"], each["number"], each["tries"]) == (
            "waiting",
            row["number"],
            row["tries"],
        )
    signup = changes[-1]["delivery_id"]
    event = people.ask("administrator", "GET", f"/events/{signup}").json
    assert event["led_to"] == [each for each in changes[::-1] if each["delivery_id"] == signup]
    assert event["led_to"][0]["kind"] == "user.created"
    assert event["led_to"][0]["told"] is True
    page = people.ask("administrator", "GET", "/users/{other}/changes?limit=1").json
    assert page["changes"] == changes[:1]
    more = people.ask(
        "administrator", "GET", f"/users/{{other}}/changes?limit=1&cursor={page['next_cursor']}"
    ).json
    assert more["changes"] == changes[1:2]


def test_an_event_without_effect_led_to_nothing(sqlite_people: People) -> None:
    """Nor did one of nobody."""
    people = sqlite_people
    who = account(email="other@example.com", user_id=people.ids["other"], at=people.app.clock())
    deliver(people.app, [signed("login", who, at=people.app.clock(), secret=SECRET)])
    delivery = people.app.store.ledger.page(limit=1).items[0]
    assert delivery.event == "login"
    assert people.ask("administrator", "GET", f"/events/{delivery.id}").json["led_to"] == []
    assert people.app.outbox.led_by_event(replace(delivery, user_id=None)) == []


def test_of_a_deleted_person_the_deletion_alone_is_to_come(sqlite_people: People) -> None:
    """It takes the place of all others."""
    people = sqlite_people
    people.app.sinks.add("https://crm.example/", ["*"], "cli:x")
    grant(people, "editor")
    people.ask("administrator", "DELETE", "/users/{other}")
    changes = people.ask("administrator", "GET", "/users/{other}/changes").json["changes"]
    to_come = [each["kind"] for each in changes if each["outstanding"]]
    assert to_come == ["user.deleted"]


def test_a_sink_does_not_lack_what_it_is_not_for(sqlite_people: People) -> None:
    """Its kinds are on record; and a paused one is told as such."""
    people = sqlite_people
    sink, _ = people.app.sinks.add("https://crm.example/", ["role.granted"], "cli:x")
    people.app.sinks.pause(sink.id, "cli:x")
    grant(people, "editor")
    people.ask("administrator", "PATCH", "/users/{other}", {"profile": {"a": 1}})
    changes = people.ask("administrator", "GET", "/users/{other}/changes").json["changes"]
    assert changes[0]["outstanding"] == []
    assert [each["consumer"] for each in changes[1]["outstanding"]] == [sink.consumer]
    (standing,) = people.ask("administrator", "GET", "/outbox").json["consumers"]
    assert (standing["name"], standing["paused"]) == (sink.consumer, True)


@pytest.mark.parametrize("number", ["0", "x", "%00", "-1", "1.0", "9" * 30])
def test_a_change_that_is_not_there(sqlite_people: People, number: str) -> None:
    """For each address below it."""
    for method, path, body in ADDRESSES[2:5]:
        address = path.replace("{number}", number)
        answer = sqlite_people.ask("administrator", method, address, body)
        assert (answer.status, answer.code) == (404, "change_not_found")


@pytest.mark.parametrize("name", ["user", "other"])
def test_nobody_else_sees_or_changes_the_outbox(sqlite_people: People, name: str) -> None:
    """It tells of everybody."""
    number = two_waiting(sqlite_people)[0]["number"]
    for method, path, body in ADDRESSES:
        address = path.replace("{number}", str(number)).replace("{id}", str(uuid4()))
        assert sqlite_people.ask(name, method, address, body).code == "forbidden"
    assert len(listed(sqlite_people)) == 2
