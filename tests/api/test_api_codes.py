"""``/api/codes``: made once, told once, listed, revoked; for administrators alone."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from jsonschema import Draft202012Validator
from msgspec.structs import replace

from tests.api.api_support import People, ask
from tests.store.store_support import deliver
from tests.support import account, signed
from usher.core.domain.admission import Answer
from usher.core.domain.codes import digest_of
from usher.core.domain.counting import Counting
from usher.core.domain.records import THE_SITE
from usher.core.domain.rules import FilePolicy


def make(people: People, **body: Any) -> Any:
    """What a call that makes codes answers."""
    return people.ask("administrator", "POST", "/codes", body)


def test_codes_are_made_and_told_once(people: People) -> None:
    """Thirty of them; afterwards their spelling is nowhere to be had."""
    answer = make(
        people,
        count=30,
        roles=["pupil"],
        ends_at="2026-12-24T00:00:00Z",
        roles_until="2027-07-31T00:00:00Z",
        label="Class 7b",
    )
    assert answer.status == 201
    made = answer.json["codes"]
    assert len({each["code"] for each in made}) == 30
    listed = people.ask("administrator", "GET", "/codes?limit=200")
    assert {each["id"] for each in listed.json["codes"]} == {each["id"] for each in made}
    assert all(each["code"] not in listed.text for each in made)
    one = people.ask("administrator", "GET", f"/codes/{made[0]['id']}").json
    assert one == {name: value for name, value in made[0].items() if name != "code"}
    assert (one["state"], one["allowed"], one["used"], one["roles"]) == ("open", 1, 0, ["pupil"])
    boss = str(people.ids["administrator"])
    assert one["created_by"] == f"user:{boss}"


def test_answers_are_as_described(people: People) -> None:
    """Each of this resource, by the OpenAPI document."""
    document = ask("GET", "/openapi.json").json
    made = make(people).json["codes"][0]
    for method, path, status in (
        ("POST", "/codes", "201"),
        ("GET", "/codes", "200"),
        ("GET", "/codes/{code}", "200"),
        ("GET", "/codes/{code}/uses", "200"),
        ("DELETE", "/codes/{code}", "200"),
    ):
        address = path.replace("{code}", made["id"])
        answer = people.ask("administrator", method, address, {} if method == "POST" else None)
        assert answer.status == int(status), answer
        content = document["paths"][path][method.lower()]["responses"][status]["content"]
        schema = {**content["application/json"]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(answer.json)


def test_a_code_of_ones_own_and_its_uses(people: People) -> None:
    """The policy names the field, a person signs up with it, and their id is listed."""
    answer = make(people, code="Class of 2026: 7b", uses=2).json
    assert answer["invitation_code"] is None
    made = answer["codes"][0]
    again = make(people, code="class-of-2026-7b")
    assert (again.status, again.code) == (409, "code_taken")
    app = people.app
    policy = app.policy
    assert isinstance(policy, FilePolicy)
    shut = replace(
        policy,
        admission=replace(policy.admission, default=Answer.DENY),
        counting=Counting("code"),
    )
    app.policy_in_force.__dict__["current"] = shut
    assert people.ask("administrator", "GET", "/codes").json["invitation_code"] == "code"
    ids = []
    for number in range(3):
        who = account(email=f"p{number}@school.example", user_metadata={"code": "CLASS OF 2026 7B"})
        ids.append(str(who.id))
        deliver(app, [signed("signup", who)])
    path = f"/codes/{made['id']}"
    first = people.ask("administrator", "GET", f"{path}/uses?limit=1")
    rest = people.ask("administrator", "GET", f"{path}/uses?cursor={first.json['next_cursor']}")
    assert "Link" in first.headers
    uses = first.json["uses"] + rest.json["uses"]
    assert sorted(each["user_id"] for each in uses) == sorted(ids[:2])
    found = people.ask("administrator", "GET", path).json
    assert (found["state"], found["used"]) == ("used_up", 2)


def test_a_revoked_code_is_told_in_the_audit_of_the_site(people: People) -> None:
    """With the reason; a second time changes nothing."""
    made = make(people).json["codes"][0]
    path = f"/codes/{made['id']}"
    revoked = people.ask("administrator", "DELETE", f"{path}?reason=lost").json
    assert revoked["state"] == "revoked"
    people.app.clock.advance(days=1)  # type: ignore[attr-defined]
    assert people.ask("administrator", "DELETE", path).json == revoked
    entries = people.ask("administrator", "GET", f"/audit?user={THE_SITE}").json["audit"]
    assert [(each["action"], each["reason"]) for each in entries] == [
        ("code.revoked", "lost"),
        ("codes.made", ""),
    ]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"count": 0}, "input_invalid"),
        ({"count": 501}, "input_invalid"),
        ({"uses": 0}, "input_invalid"),
        ({"roles": [" "]}, "input_invalid"),
        ({"roles": ["a"] * 21}, "input_invalid"),
        ({"label": "x" * 201}, "input_invalid"),
        ({"more": 1}, "input_invalid"),
        ({"roles": ["a", "a"]}, "code_invalid"),
        ({"code": "short"}, "code_invalid"),
        ({"code": "long-enough-code", "count": 2}, "code_invalid"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "code_invalid"),
        ({"roles_until": "2030-01-01T00:00:00Z"}, "code_invalid"),
    ],
)
def test_what_cannot_be_made_is_refused(
    sqlite_people: People, body: dict[str, Any], code: str
) -> None:
    """With 400, and nothing is made."""
    answer = make(sqlite_people, **body)
    assert (answer.status, answer.code) == (400, code)
    assert sqlite_people.ask("administrator", "GET", "/codes").json["codes"] == []


@pytest.mark.parametrize("code_id", ["1", "x" * 36, "%00", str(THE_SITE)])
def test_a_code_that_is_not_there(sqlite_people: People, code_id: str) -> None:
    """For each address below it."""
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/uses")):
        answer = sqlite_people.ask("administrator", method, f"/codes/{code_id}{path}")
        assert answer.status == 404


@pytest.mark.parametrize("name", ["user", "other"])
def test_nobody_else_makes_or_sees_codes(sqlite_people: People, name: str) -> None:
    """A code may give roles, so making one is an administrator's act."""
    for method, path in (
        ("GET", "/codes"),
        ("POST", "/codes"),
        ("GET", f"/codes/{uuid4()}"),
        ("DELETE", f"/codes/{uuid4()}"),
        ("GET", f"/codes/{uuid4()}/uses"),
    ):
        body = {"roles": ["admin"]} if method == "POST" else None
        assert sqlite_people.ask(name, method, path, body).code == "forbidden"
    assert sqlite_people.app.codes.page().items == ()


def test_a_digest_is_nothing_that_the_api_tells(sqlite_people: People) -> None:
    """Neither in the list nor in the answer that makes it."""
    made = make(sqlite_people)
    digest = digest_of(made.json["codes"][0]["code"])
    assert digest not in made.text
    assert digest not in sqlite_people.ask("administrator", "GET", "/codes").text
