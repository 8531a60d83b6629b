"""The token that Netlify gives its functions, as the only way to Identity's admin API."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest

from tests.api.api_support import bearer
from tests.emulator.pushes_support import Together, together
from tests.emulator.world import JWT_SECRET, MOUNT, OPERATOR, World
from tests.store.store_support import LogLines, rows
from tests.stub import answering
from tests.support import Clock
from usher.core import scheduled
from usher.core.app import App
from usher.core.identity.client import IdentityClient
from usher.core.identity.http import system_token
from usher.core.scheduled import NO_WAY
from usher.core.settings import Settings
from usher.functions import api

HOUR = 3600


class Site:
    """Usher inside Netlify: each call of its API may bring a token."""

    def __init__(self, site: Together) -> None:
        self.site = site
        self.world, self.clock, self.app = site.world, site.clock, site.app
        self.url = f"http://127.0.0.1:{site.port}{MOUNT}"
        self.bob = site.member()
        site.clock.advance(seconds=60)
        site.calls.clear()

    def good(self) -> str:
        """The token that Netlify would give now."""
        return system_token(JWT_SECRET, None, self.clock().timestamp())

    def call(self, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
        """A call of the API by the administrator: status and answer; ``token``: the platform's."""
        self.clock.advance(seconds=1)
        self.app.platform.renew(self.url if token else None, token)
        headers = {
            "authorization": "Bearer " + bearer(UUID(self.site.boss), self.clock(), JWT_SECRET),
            "content-type": "application/json",
        }
        event = {
            "httpMethod": method,
            "path": f"/api{path}",
            "headers": headers,
            "body": "" if body is None else json.dumps(body),
        }
        answer = api.handler(event, None)
        return answer["statusCode"], json.loads(answer["body"] or "null")

    def grant(self, role: str = "editor", token: str | None = None) -> Any:
        """Bob gets a role; the answer's ``identity``."""
        status, told = self.call("PUT", f"/users/{self.bob}/roles/{role}", token=token)
        assert status == 200
        return told["identity"]

    def held(self) -> list[str]:
        """Bob's roles at Identity."""
        return sorted(self.site.held(self.bob)["roles"])

    def pending(self) -> list[tuple[int, bool, str]]:
        """Tries, lease and error of each pending push."""
        found = rows(self.app.store.database, "select tries, lease, error from pushes")
        return [(tries, lease is None, error) for tries, lease, error in found]


@pytest.fixture
def inside(
    make: Callable[..., World],
    make_settings: Callable[..., Settings],
    database_url: str,
    clock: Clock,
) -> Iterator[Site]:
    """A site without a JWT secret, operator token or bridge; a sync is due every hour."""
    more = {"jwt_secret": None, "use_platform_token": True, "sync_interval_seconds": HOUR}
    with together(make, make_settings, database_url, clock, **more) as found:
        yield Site(found)
        found.app.sync._periodic = None  # a run that is under way ends before its database


FORGED: dict[str, Callable[[Site], str]] = {
    "nonsense": lambda _: "nonsense",
    "another site's": lambda site: system_token(b"x" * 32, None, site.clock().timestamp()),
    "an old one": lambda site: system_token(JWT_SECRET, None, site.clock().timestamp() - HOUR),
    "somebody's own": lambda site: bearer(UUID(site.bob), site.clock(), JWT_SECRET),
}


def test_a_role_is_pushed_with_the_token_of_the_same_invocation(inside: Site) -> None:
    """It is in the next refreshed token."""
    assert inside.grant(token=inside.good()) == "in step"
    assert inside.held() == ["editor", "member", "staff"]
    assert inside.call("DELETE", f"/users/{inside.bob}/roles/editor", token=inside.good())[0] == 200
    assert inside.held() == ["member", "staff"]


def test_a_suspension_is_pushed_with_the_token(inside: Site) -> None:
    """Their roles are gone at Identity, and come back with it."""
    path = f"/users/{inside.bob}"
    assert inside.call("PATCH", path, {"status": "suspended"}, token=inside.good())[0] == 200
    assert inside.held() == []
    assert inside.call("PATCH", path, {"status": "active"}, token=inside.good())[0] == 200
    assert inside.held() == ["member", "staff"]


def test_somebody_is_invited_with_the_token_and_not_without(inside: Site) -> None:
    """Without one the administrator is told, and nobody is made."""
    body = {"email": "eve@example.com"}
    for token in (None, "nonsense"):
        status, told = inside.call("POST", "/users", body, token=token)
        assert (status, told["code"]) == (503, "platform_token")
        assert "nonsense" not in json.dumps(told)
    status, told = inside.call("POST", "/users", body, token=inside.good())
    assert (status, told["email"]) == (201, "eve@example.com")


def test_a_sync_goes_on_with_each_token(inside: Site) -> None:
    """Somebody of whom no event came is found; without a token there is no step."""
    inside.world.account_without_event()
    inside.site.calls.clear()
    inside.app.platform.renew()
    assert inside.app.sync.step() is False
    inside.app.catch_up()
    assert inside.site.calls == []
    for _ in range(20):
        inside.app.platform.renew(inside.url, inside.good())
        inside.app.catch_up()
    assert inside.app.sync.completed() is not None
    assert {user["email"] for user in inside.call("GET", "/users")[1]["users"]} >= {
        "eve@example.com"
    }


def test_a_scheduled_invocation_pushes_where_it_brought_a_token(inside: Site) -> None:
    """Without one it says what it left."""
    assert inside.grant() == "pending"
    left = {"pushes": NO_WAY, "sync": NO_WAY}
    assert scheduled.run(inside.app, lambda: 30.0) == {"done": True, **left}
    assert inside.pending() == [(0, True, "")]
    inside.app.platform.renew(inside.url, inside.good())
    assert not left.keys() & scheduled.run(inside.app, lambda: 30.0).keys()
    assert inside.pending() == []


def test_without_a_token_a_push_waits_for_the_next_that_has_one(inside: Site) -> None:
    """No try is counted. A token does not outlive its invocation."""
    assert inside.grant("editor", inside.good()) == "in step"
    assert inside.grant("author") == "pending"
    assert inside.pending() == [(0, True, "")]
    assert inside.app.pushes.push_pending().error.startswith("platform_token: ")
    assert not inside.app.pushes.step()
    inside.app.catch_up()
    assert inside.pending() == [(0, True, "")]
    assert "author" not in inside.held()
    assert inside.call("GET", "/health", token=inside.good())[0] == 200
    assert inside.pending() == [(0, True, "")], "nobody proved who they are"
    assert inside.call("GET", "/me", token=inside.good())[0] == 200
    assert inside.held() == ["author", "editor", "member", "staff"]
    assert inside.pending() == []


def test_a_slow_identity_keeps_nobody_waiting_for_what_is_others(
    inside: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the time for it is over, nothing is begun; the next invocation goes on."""
    assert inside.grant("author") == "pending"
    inside.app.platform.renew(inside.url, inside.good())
    inside.site.calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr("usher.core.app.CATCH_UP_SECONDS", 0.0)
        inside.app.catch_up()
        assert inside.site.calls == []
    assert inside.pending() == [(0, True, "")]
    inside.app.catch_up()
    assert inside.pending() == []


def test_a_stranger_s_token_harms_no_push(inside: Site) -> None:
    """It uses up no try, puts nothing off, and the next good one tells Identity all."""
    lines = LogLines()
    for make in FORGED.values():
        assert inside.grant(token=make(inside)) == "pending"
        assert inside.pending() == [(0, True, "")]
        assert not inside.app.platform.is_given
    assert len(lines("platform.token_refused")) == len(FORGED)
    assert inside.grant("author", inside.good()) == "in step"
    assert inside.held() == ["author", "editor", "member", "staff"]


def test_a_stranger_s_token_begins_nothing_for_others(inside: Site) -> None:
    """It is tried once where nothing is changed; no lease is taken, no sync begun."""
    assert inside.grant() == "pending"
    database = inside.app.store.database
    before = rows(database, "select * from pushes")
    for make in FORGED.values():
        inside.app.platform.renew(inside.url, make(inside))
        inside.site.calls.clear()
        for _ in range(2):
            inside.app.catch_up()
        assert [call.partition("?")[0] for call in inside.site.calls] == ["GET /admin/users"]
    assert rows(database, "select * from pushes") == before
    assert rows(database, "select * from syncs") == []


def test_a_stranger_s_address_is_never_called(inside: Site) -> None:
    """Neither with a token nor without."""
    with answering(200) as stub:
        inside.app.platform.renew(stub.url + MOUNT, inside.good())
        inside.app.catch_up()
        assert inside.call("PUT", f"/users/{inside.bob}/roles/x")[1]["identity"] == "pending"
        assert stub.requests == []


def test_the_token_is_told_to_identity_alone(inside: Site) -> None:
    """Not in a log line, an answer, an error, the database, or the text of an object."""
    lines = LogLines()
    token = inside.good()
    answers = [inside.call("PUT", f"/users/{inside.bob}/roles/editor", token=token)]
    inside.app.catch_up()
    answers += [inside.call("GET", path, token=token) for path in ("/users", "/audit", "/events")]
    wrong = "wrong-" + token
    answers.append(inside.call("PUT", f"/users/{inside.bob}/roles/author", token=wrong))
    tables = ("users", "audit", "deliveries", "pushes", "syncs")
    kept = [
        str(row)
        for table in tables
        for row in rows(inside.app.store.database, f"select * from {table}")
    ]
    said = [repr(answers), repr(lines()), *kept, repr(vars(inside.app))]
    assert not any(token in each for each in said)


def test_other_credentials_go_first(inside: Site) -> None:
    """With an operator token nobody needs the platform's."""
    settings = {"identity_admin_token": OPERATOR, "use_platform_token": True}
    fields = {name: getattr(inside.app.settings, name) for name in Settings.__struct_fields__}
    app = App(Settings(**(fields | settings)), inside.clock)
    assert list(app.admin_ways) == ["USHER_IDENTITY_ADMIN_TOKEN", "USHER_USE_PLATFORM_TOKEN"]
    assert app.identity is not None
    assert not app.identity.is_waiting
    assert app.identity.users(1).users
    app.close()


def test_the_user_of_a_context_in_a_header_is_nobody(inside: Site) -> None:
    """A stranger may have written it; the API asks for a bearer token as anywhere."""
    context = {"url": inside.url, "token": inside.good(), "user": {"sub": inside.site.boss}}
    header = base64.b64encode(json.dumps(context).encode()).decode()
    event = {
        "httpMethod": "GET",
        "path": "/api/me",
        "headers": {"x-nf-identity-info": header, "X-Nf-Identity-Info": header},
        "clientContext": {"user": {"sub": inside.site.boss}},
    }
    assert (
        api.handler(event, {"clientContext": {"user": {"sub": inside.site.boss}}})["statusCode"]
        == 401
    )


def test_handlers_and_pending_records_do_not_wait_for_a_token(inside: Site) -> None:
    """Maintenance is given none, so they do without Identity, as where there is no way to it."""
    assert inside.app.accounts is None
    assert isinstance(inside.app.identity, IdentityClient)
    assert inside.app.identity.is_waiting
    assert inside.app.unconfirmed.step().removed == ()
