"""The emulator and Usher together: events, roles in tokens, the API, asking Identity."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.emulator.world import JWT_SECRET, MOUNT, OPERATOR, World
from tests.stub import Stub
from tests.support import SECRET, Clock, Server
from usher.core.app import App, use
from usher.core.errors import IdentityRefusedError
from usher.core.identity.client import IdentityClient
from usher.core.identity.http import HttpTransport
from usher.core.settings import Settings
from usher.emulator.options import EVENTS, Webhook
from usher.emulator.server import serving
from usher.functions import api, identity
from usher.functions._shared.http import Request, Response

Make = Callable[..., World]


@pytest.fixture
def both(
    make: Make, sqlite_url: str, make_settings: Callable[..., Settings], clock: Clock
) -> Iterator[World]:
    """An Identity whose events go to Usher's functions over HTTP."""
    settings = make_settings(database_url=sqlite_url, jwt_secret=JWT_SECRET)
    received: list[tuple[str, dict[str, str], bytes]] = []

    def handle(request: Request) -> Response:
        received.append((request.path, {}, request.body))
        return identity.hook.answer(request)

    with use(App(settings, clock)), serving(handle) as url:
        webhook = Webhook(url=f"{url}/.netlify/functions/identity", secret=SECRET)
        world = make(webhook=webhook, clock=clock)
        world.stub = Stub(url, received)
        yield world


def ask(token: str, path: str) -> tuple[int, Any]:
    """GET the API with an access token."""
    event = {
        "httpMethod": "GET",
        "path": f"/api{path}",
        "headers": {"authorization": f"Bearer {token}"},
    }
    answer = api.handler(event, None)
    return answer["statusCode"], json.loads(answer["body"])


def test_the_roles_that_usher_decides_are_in_the_next_token(both: World) -> None:
    """Signed up, confirmed, and known to the API by that token."""
    both.sign_up("ada@example.com", full_name="Ada")
    token = both.confirm().json["access_token"]
    user = both.call("GET", "/user", token=token).json
    assert user["app_metadata"] == {"provider": "email", "roles": ["member", "staff"]}
    status, me = ask(token, "/me")
    assert (status, me["email"]) == (200, "ada@example.com")
    assert both.events == ["validate", "signup"]


def test_whom_usher_turns_away_has_no_account(both: World) -> None:
    """403 three times, then Identity's 422."""
    reply = both.sign_up("eve@mailinator.com")
    assert (reply.status, reply.json["msg"]) == (422, "Failed to handle signup webhook")
    assert both.admin("GET", "/admin/users").json["users"] == []


def test_an_administrator_at_identity_and_one_here(both: World) -> None:
    """A role given there reaches us; an account deleted there is a tombstone here."""
    both.sign_up("owner@example.com")
    boss = both.confirm().json["access_token"]
    user_id = both.member("bob@example.com")
    body = {"app_metadata": {"roles": ["editor", "member", "staff"]}}
    assert both.admin("PUT", f"/admin/users/{user_id}", body).status == 200
    _, seen = ask(boss, f"/users/{user_id}")
    assert "editor" in json.dumps(seen)
    held = both.token("bob@example.com")
    assert both.admin("DELETE", f"/admin/users/{user_id}").status == 200
    assert ask(held, "/me")[0] == 403


def test_ushers_own_client_of_identity_understands_it(both: World) -> None:
    """GET /user and POST /invite over HTTP."""
    token = both.confirm().json["access_token"] if both.sign_up().status == 200 else ""
    with serving(both.emulator.handle) as url:
        client = IdentityClient(url + MOUNT, HttpTransport(url + MOUNT, lambda: OPERATOR))
        asked = client.user_of(token)
        assert asked is not None
        assert asked.email == "ada@example.com"
        assert client.user_of("x.y.z") is None
        assert client.invite("bob@example.com", {"full_name": "Bob"}).email == "bob@example.com"
        with pytest.raises(IdentityRefusedError, match="already registered"):
            client.invite("bob@example.com", {})


def test_events_to_the_real_server_come_back_as_roles(
    make: Make, sqlite_url: str, start_server: Callable[..., Server]
) -> None:
    """`usher serve` as a process; every clock is the real one. Its API takes our token."""
    secret = JWT_SECRET.decode()  # signs function hooks as well
    server = start_server(sqlite_url, USHER_JWT_SECRET=secret, USHER_WEBHOOK_SECRETS=secret)
    functions = f"{server.url}/.netlify/functions"
    hooks = {event: f"{functions}/identity-{event}" for event in EVENTS}
    world = make(function_hooks=hooks, clock=lambda: datetime.now(UTC))
    user_id = world.member("ada@example.com")
    token = world.token("ada@example.com")
    user = world.call("GET", "/user", token=token).json
    assert user["app_metadata"]["roles"] == ["member", "staff"]
    asked = server.pool.request(
        "GET", f"{server.url}/api/me", headers={"Authorization": f"Bearer {token}"}
    )
    assert (asked.status, asked.json()["email"]) == (200, "ada@example.com")
    assert world.sign_up("eve@mailinator.com").status == 422
    assert world.admin("DELETE", f"/admin/users/{user_id}").status == 200
    gone = server.pool.request(
        "GET", f"{server.url}/api/me", headers={"Authorization": f"Bearer {token}"}
    )
    assert gone.status == 403
