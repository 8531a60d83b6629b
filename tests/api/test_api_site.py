"""With USHER_PROXY_SECRET the API answers only what came through the site."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.api.api_support import JWT_SECRET, People, ask
from tests.domain.test_site_signature import netlify
from tests.support import NOON, SECRET, Clock, account, call, signed
from usher.core.app import App, use
from usher.core.settings import Settings
from usher.functions import api
from usher.functions._shared.http import Request

NOW = int(NOON.timestamp())


def sign(**changed: Any) -> str:
    """The header's value at noon."""
    return netlify(**({"iat": NOW, "exp": NOW + 300} | changed))


@pytest.fixture
def people(sqlite_url: str, make_settings: Callable[..., Settings]) -> Iterator[People]:
    """Usher behind a site."""
    settings = make_settings(
        database_url=sqlite_url,
        jwt_secret=JWT_SECRET,
        proxy_secret=(SECRET,),
        allowed_origins=("https://site.example",),
    )
    with use(App(settings, Clock())) as app:
        yield People(app)


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("GET", "/me"),
        ("GET", "/health"),
        ("GET", "/openapi.json"),
        ("OPTIONS", "/users"),
        ("BREW", "/me"),
        ("GET", "/nothing"),
    ],
)
def test_who_comes_directly_gets_one_answer(people: People, method: str, address: str) -> None:
    """Whatever is asked for, also what needs no token, and what there is not."""
    answer = people.ask("administrator", method, address)
    assert (answer.status, answer.code) == (403, "not_through_site")
    assert answer.headers["Vary"] == "Origin"


def test_through_the_site_everything_is_as_ever(people: People) -> None:
    """The signature adds nothing to what a caller may do."""
    assert people.ask("user", "GET", "/me", x_nf_sign=sign()).status == 200
    assert people.ask("user", "GET", "/users", x_nf_sign=sign()).code == "forbidden"
    assert ask("GET", "/me", x_nf_sign=sign()).code == "unauthenticated"
    assert people.ask("user", "GET", "/nothing", x_nf_sign=sign()).code == "not_found"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "signature_missing"),
        ([sign(), sign()], "signature_repeated"),
        ([sign(exp=NOW)], "claim_exp"),
        ([sign(iss="gotrue")], "claim_iss"),
        (["a.b.c"], "token_encoding"),
    ],
)
def test_why_is_in_the_log_only(people: People, values: list[str], reason: str) -> None:
    """The same answer, byte for byte; the line ``api.answered`` has the check that failed."""
    headers = {"X-Nf-Sign": values, "Authorization": [people.token("user")]}
    event = {"httpMethod": "GET", "path": "/api/me", "multiValueHeaders": headers}
    with capture_logs() as lines:
        answer = api.handler(event, None)
    assert answer["body"] == (
        '{"type":"urn:usher:error:not_through_site",'
        '"title":"The API is reached through its site only","status":403,"code":"not_through_site",'
        '"detail":"Ask the site\'s own address; requests that come directly are not answered."}'
    )
    said = [(line["event"], line["status"], line["reason"]) for line in lines]
    assert said == [("api.answered", 403, reason)]


def test_what_could_not_be_read_is_refused_alike(people: People) -> None:
    """A server that turns a body down asks the API for the answer."""
    answer = api.refuse(Request("PATCH", "/api/me", {}, b""), ValueError())
    assert json.loads(answer.body)["code"] == "not_through_site"


def test_events_may_come_directly(people: People) -> None:
    """They have a signature of their own."""
    assert call(signed("signup", account()))["statusCode"] == 200
