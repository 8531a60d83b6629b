"""Without a secret, a real server on loopback is asked in Identity's place; and for invitations."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.api.api_support import JWT_SECRET, People, ask, bearer
from tests.stub import HANG, Answer, Stub, answering, serving
from tests.support import NOON, Clock, free_port
from usher.core.app import App, use
from usher.core.auth import CACHE_ENTRIES
from usher.core.identity import http as identity_http
from usher.core.settings import Settings

ADA = UUID(int=7)


def described(user_id: UUID = ADA, **fields: Any) -> Answer:
    """Identity's description of a user."""
    document = {
        "id": str(user_id),
        "aud": "",
        "email": "ada@example.com",
        "app_metadata": {"provider": "google", "roles": ["editor"]},
        "user_metadata": {"full_name": "Ada"},
        "created_at": "2026-01-01T00:00:00Z",
    }
    return 200, {"Content-Type": "application/json"}, json.dumps(document | fields).encode()


Open = Callable[..., Any]


@pytest.fixture
def asking(database_url: str, make_settings: Callable[..., Settings], clock: Clock) -> Open:
    """The App without a secret, Identity at this address."""

    @contextmanager
    def opened(url: str | None, **more: Any) -> Any:
        settings = make_settings(
            database_url=database_url, identity_url=url, instance_id=UUID(int=0), **more
        )
        with use(App(settings, clock)) as app:
            yield app

    return opened


def me(user_id: UUID = ADA, **claims: Any) -> Any:
    """Who am I, with a token that only Identity can check."""
    return ask("GET", "/me", "Bearer " + bearer(user_id, NOON, b"s" * 32, **claims))


def test_identity_vouches_for_a_token(asking: Open) -> None:
    """It gets the token and nothing else; its answer makes the record, roles included."""
    with answering(described()) as stub, asking(stub.url):
        answer = me()
        assert answer.status == 200
        assert answer.json["roles"] == ["editor", "member"]
        assert answer.json["user_metadata"] == {"full_name": "Ada"}
        ((path, headers, body),) = stub.requests
        assert (path, body) == ("/user", b"")
        assert headers["authorization"].startswith("Bearer ey")


def test_its_word_is_remembered_for_a_minute(asking: Open, clock: Clock) -> None:
    """And never past the token's end."""
    with answering(described()) as stub, asking(stub.url):
        for seconds, asked in [(0, 1), (59, 1), (2, 2)]:
            clock.advance(seconds=seconds)
            assert me().status == 200
            assert len(stub.requests) == asked
        soon = int(clock().timestamp()) + 10
        assert me(exp=soon).status == 200
        clock.advance(seconds=9)
        assert me(exp=soon).status == 200
        assert len(stub.requests) == 3
        clock.advance(seconds=1)
        assert me(exp=soon).code == "unauthenticated"
        assert len(stub.requests) == 3


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_401_and_not_remembered(asking: Open, status: int) -> None:
    """The next request asks again."""
    with answering(status, described()) as stub, asking(stub.url):
        assert me().code == "unauthenticated"
        assert me().status == 200
        assert len(stub.requests) == 2


ODD: dict[str, Answer | int] = {
    "broken": 500,
    "busy": 429,
    "moved": (302, {"Location": "http://127.0.0.1:9/user"}, b""),
    "no JSON": (200, {}, b"<html>"),
    "a list": (200, {}, b"[]"),
    "no user": (200, {}, b"{}"),
    "an odd user": described(email=7),
    "without end": (200, {}, b" " * (identity_http.MAX_ANSWER_BYTES + 10)),
    "silent": HANG,
}


@pytest.mark.parametrize("kind", ODD)
def test_what_identity_should_not_answer_is_503(
    asking: Open, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the caller's fault; nothing is remembered, no record is made."""
    monkeypatch.setattr(identity_http, "READ_SECONDS", 0.3)
    with answering(ODD[kind]) as stub, asking(stub.url) as app:
        answer = me()
        assert (answer.status, answer.code) == (503, "identity_unavailable")
        assert "detail" not in answer.json
        assert answer.headers["Retry-After"] == "1"
        assert app.store.users.page().items == ()


def test_an_identity_that_is_away_is_503(asking: Open) -> None:
    """And so is none at all: there is no open mode."""
    with asking(f"http://127.0.0.1:{free_port()}"):
        assert me().code == "identity_unavailable"
    with asking(None):
        assert me().code == "identity_unavailable"
        assert ask("GET", "/health").status == 200


def test_its_answer_must_be_about_the_tokens_owner(asking: Open) -> None:
    """A proxy that mixes answers up must not let one person be another."""
    with answering(described(uuid4())) as stub, asking(stub.url):
        assert me().code == "unauthenticated"


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": None},
        {"iss": "gotrue"},
        {"sha256": "0"},
        {"nbf": 2**40},
        {"nbf": True},
        {"nbf": False},
        {"nbf": None, "iat": True},
    ],
)
def test_what_cannot_be_good_is_not_asked_about(asking: Open, claims: dict[str, Any]) -> None:
    """Identity is not bothered with it."""
    with answering(described()) as stub, asking(stub.url):
        assert me(**claims).code == "unauthenticated"
        for token in ("x", "a.b.c", "e30.e30", "Bearer " * 3, "é.é.é"):
            assert ask("GET", "/me", "Bearer " + token).code == "unauthenticated"
        assert stub.requests == []


def test_many_first_requests_at_once_make_one_record(asking: Open) -> None:
    """Whoever comes second reads what the first wrote."""
    with answering(described()) as stub, asking(stub.url) as app:
        answers: list[int] = []
        threads = [threading.Thread(target=lambda: answers.append(me().status)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [200] * 8
        assert len(app.store.users.page().items) == 1
        assert len(app.store.users.audit_page().items) == 1


def test_an_end_beyond_any_float_is_an_end(asking: Open) -> None:
    """A number is a number, however many digits it has."""
    with answering(described()) as stub, asking(stub.url):
        assert me(exp=10**400).status == 200


def test_only_so_many_tokens_are_remembered(asking: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was asked about longest ago is asked about again."""
    monkeypatch.setattr("usher.core.auth.CACHE_ENTRIES", 2)
    with answering(described()) as stub, asking(stub.url):
        for jti, asked in [("a", 1), ("b", 2), ("a", 2), ("c", 3), ("b", 3), ("a", 4), ("c", 4)]:
            assert me(jti=jti).status == 200
            assert len(stub.requests) == asked, jti


def test_a_token_asked_about_again_is_among_the_newest(
    asking: Open, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """Its minute was over; not it makes way for the next, but the one asked about before."""
    monkeypatch.setattr("usher.core.auth.CACHE_ENTRIES", 2)
    with answering(described()) as stub, asking(stub.url):
        for jti, later, asked in [
            ("a", 0, 1), ("b", 30, 2), ("a", 30, 3), ("c", 0, 4), ("a", 0, 4), ("b", 0, 5),
        ]:  # fmt: skip
            clock.advance(seconds=later)
            assert me(jti=jti).status == 200
            assert len(stub.requests) == asked, jti


def test_ten_thousand_tokens_are_remembered() -> None:
    """As docs/security.md says."""
    assert CACHE_ENTRIES == 10_000


# --- invitations ----------------------------------------------------------------------------------


def invitations(stub: Stub, asking: Open) -> Any:
    """The App of a site whose Identity takes invitations."""
    return asking(stub.url, jwt_secret=JWT_SECRET, identity_admin_token="operator")


def test_an_administrator_invites_through_identity(asking: Open) -> None:
    """The account is made there; the audit here says who asked for it."""
    guest = uuid4()
    answer = described(guest, email="guest@x.org", app_metadata={"provider": "email"})
    with answering(answer) as stub, invitations(stub, asking) as app:
        people = People(app)
        body = {"email": "guest@x.org", "data": {"full_name": "Guest"}}
        invited = people.ask("administrator", "POST", "/users", body)
        assert invited.status == 201
        assert invited.headers["Location"] == f"/api/users/{guest}"
        assert (invited.json["status"], invited.json["email"]) == ("pending", "guest@x.org")
        ((path, headers, sent),) = stub.requests
        assert (path, headers["authorization"]) == ("/invite", "Bearer operator")
        assert json.loads(sent) == body
        entry = app.store.users.audit_page(limit=1).items[0]
        assert (entry.action, entry.user_id) == ("user.invited", guest)
        assert entry.actor == f"user:{people.ids['administrator']}"
        again = people.ask("administrator", "POST", "/users", body)
        assert again.json["version"] == 1


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (
            (422, {}, b'{"code":422,"msg":"Email address already registered"}'),
            409,
            "identity_refused",
        ),
        ((400, {}, b"?"), 409, "identity_refused"),
        (401, 503, "identity_credentials"),
        (500, 503, "identity_unavailable"),
    ],
    ids=["registered", "bad", "token", "broken"],
)
def test_what_identity_refuses_is_told(asking: Open, answer: Any, status: int, code: str) -> None:
    """In its own words, where it has any for the administrator."""
    with answering(answer) as stub, invitations(stub, asking) as app:
        told = People(app).ask("administrator", "POST", "/users", {"email": "a@b.c"})
        assert (told.status, told.code) == (status, code)
        if isinstance(answer, tuple) and b"already" in answer[2]:
            assert "Email address already registered" in told.json["detail"]


@pytest.mark.parametrize("email", ["", "a", "a@b c", " a@b.c", "a@@b", "@", "a" * 330 + "@b.c"])
def test_only_an_address_can_be_invited(asking: Open, email: str) -> None:
    """Identity is not asked about anything else."""
    with serving(lambda *_: described()) as stub, invitations(stub, asking) as app:
        answer = People(app).ask("administrator", "POST", "/users", {"email": email})
        assert answer.json["errors"][0]["pointer"] == "/email"
        assert stub.requests == []


def test_h6_what_is_no_plain_address_is_told_in_words(asking: Open) -> None:
    """Not as the pattern that it breaks."""
    with serving(lambda *_: described()) as stub, invitations(stub, asking) as app:
        answer = People(app).ask("administrator", "POST", "/users", {"email": "Ada <a@b.c>"})
        assert answer.json["errors"][0]["detail"] == (
            "must be one e-mail address, without spaces and without a name around it"
        )


def test_without_identity_nobody_can_be_invited(asking: Open) -> None:
    """409, and which setting it takes."""
    with asking(None, jwt_secret=JWT_SECRET) as app:
        answer = People(app).ask("administrator", "POST", "/users", {"email": "a@b.c"})
        assert (answer.status, answer.code) == (409, "identity_not_configured")
        assert "USHER_IDENTITY_URL" in answer.json["detail"]


def test_an_invitation_needs_no_operator_token_where_the_secret_is_known(asking: Open) -> None:
    """A token of Identity's own system is made for it, and opens nothing here."""
    with answering(described(uuid4())) as stub, asking(stub.url, jwt_secret=JWT_SECRET) as app:
        invited = People(app).ask("administrator", "POST", "/users", {"email": "a@b.c"})
        assert invited.status == 201
        token = stub.requests[0][1]["authorization"]
        assert ask("GET", "/me", token).code == "unauthenticated"
        assert app.store.users.look_up(UUID(int=0)) is None
