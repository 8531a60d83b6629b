"""``/api/keys``: made once, told once, listed, revoked; and what a key opens."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator

from tests.api.api_support import JWT_SECRET, People, ask
from tests.store.store_support import LogLines
from tests.support import NOON
from usher.core.app import App, use
from usher.core.domain.keys import NewKey, Scope, digest_of, spelled
from usher.core.settings import Settings


def key(app: App, *scopes: str, name: str = "feed") -> str:
    """The Authorization header of a new key."""
    wanted = NewKey(name, frozenset(map(Scope, scopes)), app.clock() + timedelta(days=90))
    return f"Bearer {app.keys.create(wanted, 'cli:ada')[0]}"


def make(people: People, by: str = "administrator", **body: Any) -> Any:
    """What a call that makes a key answers."""
    usual = {"name": "feed", "scopes": ["users:read"], "expires_at": "2027-01-01T00:00:00Z"}
    return people.ask(by, "POST", "/keys", usual | body)


def test_a_key_is_made_and_told_once(people: People) -> None:
    """It opens what its scope says, until it is revoked."""
    made = make(people)
    assert made.status == 201
    text = made.json["key"]
    listed = people.ask("administrator", "GET", "/keys")
    assert text not in listed.text
    assert digest_of(text) not in listed.text + made.text
    (only,) = listed.json["keys"]
    assert only == {name: value for name, value in made.json.items() if name != "key"}
    assert only["created_by"] == f"user:{people.ids['administrator']}"
    assert (only["state"], only["used_at"]) == ("open", None)

    assert ask("GET", "/users", f"Bearer {text}").status == 200
    (only,) = people.ask("administrator", "GET", "/keys").json["keys"]
    assert only["used_at"] is not None
    revoked = people.ask("administrator", "DELETE", "/keys/feed?reason=lost").json
    assert revoked["state"] == "revoked"
    refused = ask("GET", "/users", f"Bearer {text}")
    assert (refused.status, refused.code) == (401, "unauthenticated")
    assert "revoked" in refused.text
    again = make(people)
    assert (again.status, again.code) == (409, "key_taken")


def test_answers_are_as_described(people: People) -> None:
    """Each of this resource, by the OpenAPI document; operations name the scope of a key."""
    document = ask("GET", "/openapi.json").json
    for method, path, status in (
        ("POST", "/keys", "201"),
        ("GET", "/keys", "200"),
        ("DELETE", "/keys/{key}", "200"),
    ):
        address = path.replace("{key}", "feed")
        answer = make(people) if method == "POST" else people.ask("administrator", method, address)
        assert answer.status == int(status), answer
        content = document["paths"][path][method.lower()]["responses"][status]["content"]
        schema = {**content["application/json"]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(answer.json)
    reading = document["paths"]["/users"]["get"]
    assert {"key": ["users:read"]} in reading["security"]
    assert reading["description"] == "For administrators, and keys with `users:read`."


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"scopes": []}, "input_invalid"),
        ({"scopes": ["keys:write"]}, "input_invalid"),
        ({"scopes": ["users:read"] * 9}, "input_invalid"),
        ({"name": ""}, "input_invalid"),
        ({"name": "x" * 51}, "input_invalid"),
        ({"name": "No Name"}, "key_invalid"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "key_invalid"),
        ({"expires_at": "soon"}, "input_invalid"),
        ({"key": "usher_x"}, "input_invalid"),
    ],
)
def test_what_cannot_be_made_is_refused(
    sqlite_people: People, body: dict[str, Any], code: str
) -> None:
    """With 400, and nothing is made."""
    answer = make(sqlite_people, **body)
    assert (answer.status, answer.code) == (400, code)
    assert sqlite_people.app.keys.page().items == ()


def test_whether_a_key_ends_must_be_said(sqlite_people: People) -> None:
    """None by mistake lasts for ever; null means that."""
    answer = sqlite_people.ask(
        "administrator", "POST", "/keys", {"name": "feed", "scopes": ["users:read"]}
    )
    assert answer.json["errors"] == [{"pointer": "/expires_at", "detail": "field required"}]
    assert make(sqlite_people, expires_at=None).json["expires_at"] is None


@pytest.mark.parametrize("name", ["user", "other"])
def test_nobody_else_makes_or_sees_keys(sqlite_people: People, name: str) -> None:
    """They are an administrator's to give."""
    assert make(sqlite_people, name).code == "forbidden"
    for method, path in (("GET", "/keys"), ("DELETE", "/keys/feed")):
        assert sqlite_people.ask(name, method, path).code == "forbidden"


def test_a_key_that_is_not_there(sqlite_people: People) -> None:
    """Whatever stands in the address."""
    for name in ("nobody", "%00", "x" * 200):
        answer = sqlite_people.ask("administrator", "DELETE", f"/keys/{name}")
        assert (answer.status, answer.code) == (404, "key_not_found")


def test_the_audit_names_the_key_that_acted(people: People) -> None:
    """By its name, as the actor; the log does, too."""
    lines = LogLines()
    bearer = key(people.app, "roles:write")
    answer = ask("PUT", f"/users/{people.ids['user']}/roles/editor", bearer, {"reason": "paid"})
    assert answer.json["roles"] == ["editor", "member", "staff"]
    entry = people.app.store.users.audit_page(limit=1).items[0]
    assert (entry.actor, entry.reason, entry.user_id) == ("key:feed", "paid", people.ids["user"])
    assert lines("api.answered")[-1]["caller"] == "key:feed"
    granted = next(g for g in answer.json["grants"] if g["role"] == "editor")
    assert (granted["source"], granted["actor"]) == ("administrator", "key:feed")


BAD = {
    "nobody's": f"Bearer {spelled(7)}",
    "cut short": f"Bearer {spelled(7)[:-1]}",
    "the prefix alone": "Bearer usher_",
    "as another scheme": f"Basic {spelled(7)}",
    "twice": f"Bearer {spelled(7)}, Bearer {spelled(7)}",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_key_that_is_not_good_opens_nothing(sqlite_people: People, kind: str) -> None:
    """401, as with a token."""
    answer = ask("GET", "/users", BAD[kind])
    assert (answer.status, answer.code) == (401, "unauthenticated")


def test_a_key_counts_in_the_authorization_header_alone(sqlite_people: People) -> None:
    """A browser must never send one by itself."""
    text = key(sqlite_people.app, "users:read").removeprefix("Bearer ")
    assert ask("GET", "/users", cookie=f"nf_jwt={text}").status == 401
    assert ask("GET", f"/users?key={text}").status == 401
    assert ask("GET", "/users", usher_key=text).status == 401
    assert ask("GET", "/users", f"Bearer {text}", cookie="nf_jwt=x").status == 200


def test_each_key_has_a_rate_limit_of_its_own(sqlite_url: str, make_settings: Any) -> None:
    """The one that a person has."""
    settings: Settings = make_settings(
        database_url=sqlite_url, jwt_secret=JWT_SECRET, api_requests_per_minute=3
    )
    with use(App(settings, lambda: NOON)) as app:
        one, other = key(app, "users:read"), key(app, "users:read", name="other")
        assert [ask("GET", "/users", one).status for _ in range(4)] == [200, 200, 200, 429]
        assert ask("GET", "/users", other).status == 200


def test_the_key_of_a_guard_is_told_in_the_log_and_opens_nothing(sqlite_people: People) -> None:
    """A bad one shuts nobody out: the person's token counts."""
    lines = LogLines()
    good = key(sqlite_people.app, "clients:name", name="site").removeprefix("Bearer ")
    token = sqlite_people.token("user")
    for sent, told in ((good, "key:site"), ("usher_x", "key_unknown")):
        assert ask("GET", "/me", token, usher_key=sent, usher_client="192.0.2.7").status == 200
        assert lines("api.answered")[-1]["guard"] == told
        assert ask("GET", "/users", token, usher_key=sent).code == "forbidden"
    assert "guard" not in ask("GET", "/me", token).headers
    assert UUID(lines("api.answered")[-1]["caller"]) == sqlite_people.ids["user"]
