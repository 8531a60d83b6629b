"""The order of checks, walked through: every path, method and caller, and what each is answered."""

from __future__ import annotations

import pytest

from tests.api.api_support import Answer, People, ask
from usher.functions._shared.headers import SECURITY_HEADERS
from usher.functions.api_methods import OPERATIONS

# path, the methods that it takes, who may call it
TABLE: list[tuple[str, tuple[str, ...], str]] = [
    ("/health", ("GET",), "anybody"),
    ("/openapi.json", ("GET",), "anybody"),
    ("/door", ("POST",), "anybody"),
    ("/me", ("GET", "PATCH"), "person"),
    ("/me/requests", ("GET", "POST"), "person"),
    ("/me/requests/{number}", ("DELETE",), "person"),
    ("/users", ("GET", "POST"), "administrator"),
    ("/users/{id}", ("GET", "PATCH", "DELETE"), "administrator"),
    ("/users/{id}/roles", ("GET", "PUT"), "administrator"),
    ("/users/{id}/roles/{role}", ("PUT", "DELETE"), "administrator"),
    ("/users/{id}/events", ("GET",), "administrator"),
    ("/users/{id}/changes", ("GET",), "administrator"),
    ("/requests", ("GET",), "administrator"),
    ("/requests/{number}", ("GET",), "administrator"),
    ("/requests/{number}/approve", ("POST",), "administrator"),
    ("/requests/{number}/decline", ("POST",), "administrator"),
    ("/roles", ("GET",), "administrator"),
    ("/codes", ("GET", "POST"), "administrator"),
    ("/codes/{code}", ("GET", "DELETE"), "administrator"),
    ("/codes/{code}/uses", ("GET",), "administrator"),
    ("/keys", ("GET", "POST"), "administrator"),
    ("/keys/{key}", ("DELETE",), "administrator"),
    ("/sinks", ("GET", "POST"), "administrator"),
    ("/sinks/{sink}", ("GET", "DELETE"), "administrator"),
    ("/sinks/{sink}/test", ("POST",), "administrator"),
    ("/sinks/{sink}/rotate", ("POST",), "administrator"),
    ("/sinks/{sink}/pause", ("POST",), "administrator"),
    ("/sinks/{sink}/resume", ("POST",), "administrator"),
    ("/outbox", ("GET",), "administrator"),
    ("/outbox/retry", ("POST",), "administrator"),
    ("/outbox/forget", ("POST",), "administrator"),
    ("/outbox/{number}", ("GET",), "administrator"),
    ("/outbox/{number}/retry", ("POST",), "administrator"),
    ("/outbox/{number}/skip", ("POST",), "administrator"),
    ("/events", ("GET",), "administrator"),
    ("/events/{id}", ("GET",), "administrator"),
    ("/events/{id}/replay", ("POST",), "administrator"),
    ("/audit", ("GET",), "administrator"),
    ("/changes", ("GET",), "administrator"),
    ("/stats", ("GET",), "administrator"),
    ("/policy", ("GET",), "administrator"),
    ("/policy/explain", ("POST",), "administrator"),
    ("/policy/try", ("POST",), "administrator"),
    ("/policy/shadow", ("GET",), "administrator"),
    ("/policy/me", ("GET",), "person"),
]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW")
CALLERS = (
    "no token",
    "bad token",
    "user",
    "other",
    "administrator",
    "waiting",
    "suspended",
    "deleted",
)
UNKNOWN = (
    "", "/", "/nothing", "/users/", "/users/1/2/3", "/me/roles", "/healthz", "//users", "/USERS",
    "/users/{user}/roles/a/b", "/openapi",
)  # fmt: skip
# What an administrator's request without parameters and with an empty body comes to.
DONE = {
    ("GET", "/health"): 200, ("GET", "/openapi.json"): 200, ("GET", "/me"): 200,
    ("PATCH", "/me"): 400, ("GET", "/users"): 200, ("POST", "/users"): 400,
    ("GET", "/users/{id}"): 200, ("PATCH", "/users/{id}"): 400, ("DELETE", "/users/{id}"): 204,
    ("GET", "/users/{id}/roles"): 200, ("PUT", "/users/{id}/roles"): 400,
    ("PUT", "/users/{id}/roles/{role}"): 200, ("DELETE", "/users/{id}/roles/{role}"): 200,
    ("GET", "/users/{id}/events"): 200, ("GET", "/roles"): 200, ("GET", "/events"): 200,
    ("GET", "/events/{id}"): 404, ("POST", "/events/{id}/replay"): 404, ("GET", "/audit"): 200,
    ("GET", "/stats"): 200, ("GET", "/policy"): 200, ("POST", "/policy/explain"): 400,
    ("GET", "/policy/me"): 200, ("POST", "/door"): 400, ("GET", "/me/requests"): 200,
    ("POST", "/me/requests"): 400, ("DELETE", "/me/requests/{number}"): 404,
    ("GET", "/requests"): 200, ("GET", "/requests/{number}"): 404,
    ("POST", "/requests/{number}/approve"): 404, ("POST", "/requests/{number}/decline"): 404,
    ("POST", "/policy/try"): 400, ("GET", "/codes"): 200, ("POST", "/codes"): 400,
    ("GET", "/codes/{code}"): 404, ("DELETE", "/codes/{code}"): 404,
    ("GET", "/codes/{code}/uses"): 404, ("GET", "/policy/shadow"): 200,
    ("GET", "/changes"): 200, ("GET", "/keys"): 200, ("POST", "/keys"): 400,
    ("DELETE", "/keys/{key}"): 404,
    ("GET", "/sinks"): 200, ("POST", "/sinks"): 400, ("GET", "/sinks/{sink}"): 404,
    ("DELETE", "/sinks/{sink}"): 404, ("POST", "/sinks/{sink}/test"): 404,
    ("POST", "/sinks/{sink}/rotate"): 404, ("POST", "/sinks/{sink}/pause"): 404,
    ("POST", "/sinks/{sink}/resume"): 404,
    ("GET", "/users/{id}/changes"): 200, ("GET", "/outbox"): 200, ("POST", "/outbox/retry"): 400,
    ("POST", "/outbox/forget"): 400,
    ("GET", "/outbox/{number}"): 404, ("POST", "/outbox/{number}/retry"): 404,
    ("POST", "/outbox/{number}/skip"): 404,
}  # fmt: skip
THINGS = {
    "event": "events", "request": "requests", "code": "codes", "key": "keys", "sink": "sinks",
    "change": "outbox",
}  # fmt: skip
CODES = {400: "input_invalid", 401: "unauthenticated", 405: "method_not_allowed"}


def expected(path: str, methods: tuple[str, ...], access: str, method: str, caller: str) -> object:
    """The status, or the code of a refusal, by the order of checks alone."""
    if method == "OPTIONS":
        return 204
    asked = "GET" if method == "HEAD" else method
    if asked not in methods:
        return "method_not_allowed"
    if access == "anybody":
        return DONE[asked, path]
    if caller in ("no token", "bad token"):
        return "unauthenticated"
    if caller in ("suspended", "deleted"):
        return f"account_{caller}"
    if caller == "waiting" and not path.startswith("/me"):
        return "account_waiting"
    if access == "administrator" and caller != "administrator":
        return "forbidden"
    return DONE[asked, path]


def check_shape(answer: Answer, method: str) -> None:
    """Security headers on every answer, and one shape of every error."""
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert answer.headers["Vary"] == "Origin"
    if method == "HEAD" or answer.status == 204:
        assert answer.text == ""
    elif answer.status >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        document = answer.json
        assert document["status"] == answer.status
        assert document["type"] == f"urn:usher:error:{document['code']}"
        assert set(document) <= {"type", "title", "status", "code", "detail", "errors"}


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize(("path", "methods", "access"), TABLE, ids=[row[0] for row in TABLE])
def test_every_path_method_and_caller_is_answered_by_the_first_check_that_fails(
    sqlite_people: People, path: str, methods: tuple[str, ...], access: str, caller: str
) -> None:
    """404, 405, preflight, 401, 403, then parameters and body, then the work."""
    people = sqlite_people
    address = path.replace("{id}", str(people.ids["other"])).replace("{role}", "editor")
    address = address.replace("{number}", "999")
    for thing in ("{code}", "{sink}"):
        address = address.replace(thing, str(people.ids["other"]))
    address = address.replace("{key}", "feed")
    for method in METHODS:
        wanted = expected(path, methods, access, method, caller)
        tokens = {"no token": None, "bad token": "Bearer a.b.c"}
        token = tokens[caller] if caller in tokens else people.token(caller)
        for base in ("/api", "/.netlify/functions/api"):
            answer = ask(method, address, token, base=base)
            check_shape(answer, method)
            if method == "HEAD":
                assert answer.text == ""
            elif isinstance(wanted, str):
                assert answer.code == wanted, (method, answer)
                assert answer.status == {"method_not_allowed": 405, "unauthenticated": 401}.get(
                    wanted, 403
                )
            else:
                assert answer.status == wanted, (method, answer)
                if wanted in CODES:
                    assert answer.code == CODES[wanted]
                if wanted == 404:
                    thing = next(t for t, many in THINGS.items() if f"/{many}/" in path)
                    assert answer.code == f"{thing}_not_found"
            if answer.status == 405 or method == "OPTIONS":
                allowed = answer.headers["Allow"].split(", ")
                head = ["HEAD"] if "GET" in methods else []
                assert allowed == [*methods, *head, "OPTIONS"]
            if answer.status == 401:
                assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", UNKNOWN)
@pytest.mark.parametrize("method", METHODS)
def test_an_unknown_path_is_not_there_for_anybody(
    sqlite_people: People, path: str, method: str
) -> None:
    """Before the method is looked at, or the caller."""
    for token in (None, "Bearer x", sqlite_people.token("administrator")):
        answer = ask(method, sqlite_people.fill(path), token)
        assert answer.status == 404
        check_shape(answer, method)
        if method != "HEAD":
            assert answer.code == "not_found"


def test_the_table_has_every_operation() -> None:
    """A new one needs a row here."""
    listed = {(method, path) for path, methods, _ in TABLE for method in methods}
    assert listed == {(each.method, each.path) for each in OPERATIONS} == set(DONE)


def test_parameters_are_looked_at_after_the_role(sqlite_people: People) -> None:
    """Who may not call an address learns nothing of what it takes."""
    bad = "/users?limit=nonsense"
    assert sqlite_people.ask("user", "GET", bad).code == "forbidden"
    assert sqlite_people.ask("administrator", "GET", bad).code == "input_invalid"
    body = {"nonsense": 1}
    assert sqlite_people.ask("user", "PATCH", "/users/{other}", body).code == "forbidden"
    assert sqlite_people.ask("administrator", "PATCH", "/users/{other}", body).status == 400
