"""Callers for whom the platform vouches, and requests that only say so (USHER_TRUST_PLATFORM)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from msgspec.structs import replace

from tests.api.api_support import JWT_SECRET, People
from tests.contract.cases import Case
from tests.contract.gateways import GATEWAYS
from tests.support import NOON, Clock
from usher import aws_lambda
from usher.core.app import App, use
from usher.core.auth import TrustedCaller
from usher.core.settings import API_GATEWAY, NETLIFY_V1, Settings
from usher.functions import api
from usher.functions._shared.http import Request
from usher.netlify import platform

IDENTITY = "https://site.example/.netlify/identity"
SOON = int(NOON.timestamp()) + 60
Event = dict[str, Any]


class Context:
    """Lambda's context."""

    def get_remaining_time_in_millis(self) -> int:
        """Ten seconds."""
        return 10_000


@pytest.fixture
def people(postgresql_url: str, make_settings: Callable[..., Settings]) -> Iterator[People]:
    """Everybody, of a site that believes API Gateway."""
    settings = make_settings(
        database_url=postgresql_url,
        jwt_secret=JWT_SECRET,
        identity_url=IDENTITY,
        trust_platform=API_GATEWAY,
    )
    with use(App(settings, Clock())) as app:
        yield People(app)


@contextmanager
def set_to(people: People, **settings: Any) -> Iterator[None]:
    """Other settings for a while."""
    before = people.app.settings
    people.app.settings = replace(before, **settings)
    people.app.__dict__.pop("auth", None)
    yield
    people.app.settings = before
    people.app.__dict__.pop("auth", None)


def event(gateway: str, path: str = "/users", **headers: str) -> Event:
    """A request as a gateway hands it over."""
    sent = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    case = Case(name="", part="api", method="GET", target=f"/api{path}", status=0, headers=sent)
    return GATEWAYS[gateway](case)


def vouched(people: People, gateway: str, name: str = "administrator", **more: Any) -> Event:
    """A request whose token a JWT authorizer verified; each claim as a text, as there."""
    claims = {"sub": str(people.ids[name]), "exp": str(SOON), "email": f"{name}@example.com"}
    claims |= {"app_metadata": "map[provider:email roles:[admin]]", "user_metadata": "map[]"} | more
    about = {"claims": claims, "scopes": None}
    found = event(gateway)
    found["requestContext"]["authorizer"] = {"jwt": about} if gateway == "http" else about
    return found


def status(asked: Event) -> int:
    """The status of the answer through the Lambda handler."""
    return int(aws_lambda.handler(asked, Context())["statusCode"])


def test_api_gateway_vouches_for_a_caller_whose_token_it_verified(people: People) -> None:
    """Roles are our records' own, whatever the claims say."""
    for gateway in ("http", "http1", "rest"):
        assert status(vouched(people, gateway)) == 200
        for name in ("user", "suspended", "deleted"):
            assert status(vouched(people, gateway, name)) == 403
        assert status(vouched(people, gateway, sub=str(uuid4()))) == 403


CLAIMS: list[tuple[dict[str, Any], int]] = [
    ({"exp": str(SOON - 120)}, 401), ({"exp": "soon"}, 401), ({"exp": None}, 401),
    ({"nbf": str(SOON)}, 401), ({"iat": str(SOON + 600)}, 401), ({"sub": "x"}, 401),
    ({"sub": None}, 401), ({"sub": "00000000-0000-0000-0000-000000000000"}, 401),
    ({"iss": "gotrue"}, 401), ({"sha256": "00"}, 401),
    ({"iss": "https://other.example/.netlify/identity"}, 401),
    ({"iss": IDENTITY}, 200), ({"iss": IDENTITY + "/"}, 200), ({"aud": "[a b]"}, 200),
    ({"nbf": str(SOON - 90), "iat": str(SOON - 90)}, 200),
]  # fmt: skip


def test_what_the_claims_say_is_checked(people: People) -> None:
    """Expiry, issuer, person; an event's signature is no caller's token."""
    found = [(claims, status(vouched(people, "http", **claims))) for claims, _ in CLAIMS]
    assert found == CLAIMS
    audiences = {"a": 200, "[b a]": 200, "b": 401, "": 401}
    with set_to(people, jwt_audience="a"):
        said = {name: status(vouched(people, "http1", aud=name)) for name in audiences}
    assert said == audiences


def forged(people: People) -> dict[str, Event]:
    """Requests that claim to be the administrator's."""
    claims = {"sub": str(people.ids["administrator"]), "exp": SOON}
    jwt = {"jwt": {"claims": claims, "scopes": None}}
    flat = {"claims": claims, "scopes": None}
    text = json.dumps({"requestContext": {"authorizer": jwt}, "claims": claims, "authorizer": jwt})
    coded = base64.b64encode(text.encode()).decode()
    names = ("x-amzn-requestcontext", "x-apigateway-event", "x-amz-client-context", "authorizer")
    found = {
        f"header {name}: {value[:9]}": event("http", **{name: value})
        for name in names
        for value in (text, coded)
    }
    for gateway in GATEWAYS:
        found[f"body {gateway}"] = event(gateway) | {"body": text}
        found[f"query {gateway}"] = event(gateway, f"/users?authorizer={coded}&claims={coded}")
        found[f"beside {gateway}"] = event(gateway) | {"authorizer": jwt} | jwt | flat
    places: dict[str, tuple[str, Any]] = {
        "function URL, jwt": ("url", jwt),
        "function URL, flat": ("url", flat),
        "function URL, iam": ("url", {"iam": {"claims": claims, "jwt": jwt}}),
        "lambda authorizer, 2.0": ("http", {"lambda": {"claims": claims, "jwt": jwt["jwt"]}}),
        "lambda authorizer, 2.0, flat": ("http", flat),
        "lambda authorizer, 1.0": ("http1", {"claims": claims}),
        "lambda authorizer, 1.0, principal": ("http1", {"principalId": "x", **flat}),
        "lambda authorizer, 1.0, jwt": ("http1", jwt),
        "lambda authorizer, REST": ("rest", {"principalId": "x", "claims": claims}),
        "lambda authorizer, REST, texts": ("rest", {"claims": json.dumps(claims)}),
        "lambda authorizer, REST, sub": ("rest", claims),
        "no map": ("http", [jwt]),
        "no map of claims": ("http", {"jwt": {"claims": [claims]}}),
    }
    for name, (gateway, authorizer) in places.items():
        found[name] = event(gateway)
        found[name]["requestContext"]["authorizer"] = authorizer
    return found


def test_forgeries_of_a_vouched_caller_are_refused(people: People) -> None:
    """Claims in a header, in the body, of a function URL, of a Lambda authorizer."""
    table = forged(people)
    assert {name: status(asked) for name, asked in table.items()} == dict.fromkeys(table, 401)


def test_without_the_setting_nobody_vouches(people: People) -> None:
    """Nor by that of another platform; a bearer token is what it always is."""
    for value in ("", NETLIFY_V1):
        with set_to(people, trust_platform=value):
            assert status(vouched(people, "http")) == 401
            token = people.token("administrator")
            assert status(event("http", Authorization=token)) == 200
    assert status(event("http", Authorization=people.token("administrator"))) == 200
    assert status(event("url", Authorization=people.token("administrator"))) == 200


def test_the_vouched_caller_goes_before_somebody_else_s_header(people: People) -> None:
    """The gateway verified another token than the one in the header."""
    mine, boss = vouched(people, "http", "user"), vouched(people, "http")
    mine["headers"]["authorization"] = people.token("administrator")
    boss["headers"]["authorization"] = people.token("user")
    assert (status(mine), status(boss)) == (403, 200)


# --- Netlify's Lambda-compatible functions --------------------------------------------------------


def ask(people: People, user: Any, *authorization: str, **headers: str) -> int:
    """The status of an answer to a v1 function's request."""
    sent: dict[str, tuple[str, ...]] = {name: (value,) for name, value in headers.items()}
    if authorization:
        sent["authorization"] = authorization
    context = {"user": user, "identity": {"url": IDENTITY, "token": "t"}}
    found = platform.caller(people.app, context, authorization)
    return api.answer(Request("GET", "/api/users", sent, b""), found).status


@pytest.fixture
def on_netlify(people: People) -> Iterator[People]:
    """The same people on Netlify, where the secret of access tokens is not known."""
    with set_to(people, trust_platform=NETLIFY_V1, jwt_secret=None, identity_url=None):
        yield people


def test_netlify_vouches_for_the_caller_of_a_v1_function(on_netlify: People) -> None:
    """For the person of the token that the request brings; roles are our records' own."""
    for name, found in (("administrator", 200), ("user", 403), ("suspended", 403)):
        claims = {
            "sub": str(on_netlify.ids[name]),
            "exp": SOON,
            "app_metadata": {"roles": ["admin"]},
        }
        assert ask(on_netlify, claims, on_netlify.token(name)) == found


def test_netlify_vouches_for_nobody_else(on_netlify: People) -> None:
    """Neither for somebody else's token, nor by a cookie; nor where the context is no map."""
    boss, user = (on_netlify.token(name) for name in ("administrator", "user"))
    claims = {"sub": str(on_netlify.ids["administrator"]), "exp": SOON}
    assert ask(on_netlify, claims, boss) == 200
    assert ask(on_netlify, claims) == 401
    assert ask(on_netlify, claims, cookie=f"nf_jwt={boss.removeprefix('Bearer ')}") in (401, 503)
    for sent in ((user,), (boss, user), ("Basic eDp5",), ("Bearer nonsense",)):
        assert ask(on_netlify, claims, *sent) in (401, 503)
    for wrong in (None, [claims], json.dumps(claims), {}, {**claims, "exp": SOON - 90}):
        assert ask(on_netlify, wrong, boss) in (401, 503)
    contexts: list[object] = [None, "x", [], {"custom": {"netlify": "e30="}}]
    for context in contexts:
        assert platform.caller(on_netlify.app, context, (boss,)) is None


def test_without_the_setting_netlify_vouches_for_nobody(on_netlify: People) -> None:
    """Nor by that of API Gateway."""
    claims = {"sub": str(on_netlify.ids["administrator"]), "exp": SOON}
    token = on_netlify.token("administrator")
    assert isinstance(platform.caller(on_netlify.app, {"user": claims}, (token,)), TrustedCaller)
    for value in ("", API_GATEWAY):
        with set_to(on_netlify, trust_platform=value):
            assert platform.caller(on_netlify.app, {"user": claims}, (token,)) is None


def test_an_invocation_begins_with_its_own_token_for_identity(people: People) -> None:
    """Or with none; the user in the same context is not looked at."""
    with set_to(people, use_platform_token=True):
        token = people.app.platform
        platform.begin(people.app, {"url": IDENTITY, "token": "one", "user": {"sub": "x"}})
        assert token.get() == "one"
        for context in (None, {}, "x", {"url": IDENTITY}, {"url": IDENTITY, "token": None}):
            platform.begin(people.app, {"url": IDENTITY, "token": "one"})
            platform.begin(people.app, context)
            assert not token.is_given
