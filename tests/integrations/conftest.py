"""Everybody signed up, and guards that ask the same database, or an Usher over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tests.api.api_support import JWT_SECRET, People
from tests.integrations.sites import FRAMEWORKS
from tests.stub import Answer, Stub, serving
from tests.support import Clock
from usher.core.app import App, use
from usher.core.settings import Settings
from usher.functions import api
from usher.functions._shared.http import Request


@pytest.fixture(params=FRAMEWORKS)
def framework(request: pytest.FixtureRequest) -> str:
    """Each framework in turn."""
    name: str = request.param
    return name


@pytest.fixture
def people(
    sqlite_url: str, make_settings: Callable[..., Settings], clock: Clock
) -> Iterator[People]:
    """Everybody, in the App that guards of this process ask; it takes no events afterwards."""
    settings = make_settings(database_url=sqlite_url, jwt_secret=JWT_SECRET)
    with use(App(settings, clock)) as app:
        yield People(app)


@pytest.fixture
def over_http(people: People, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """The API of everybody's App on loopback, whichever App the process has."""
    own = SimpleNamespace(current=lambda: people.app)
    monkeypatch.setattr("usher.functions.api.app", own)

    def answer(_number: int, path: str, headers: dict[str, str], _body: bytes) -> Answer:
        request = Request("GET", path, {name: (value,) for name, value in headers.items()}, b"")
        found = api.answer(request)
        return found.status, found.all_headers(), found.body.encode()

    with serving(answer) as stub:
        yield stub


Guarded = Callable[..., object]


@contextmanager
def asking(url: str, clock: Clock, **more: object) -> Iterator[App]:
    """The process's App as in a site of its own, whose guards ask this address."""
    variables = {"USHER_URL": url} | {f"USHER_{name.upper()}": str(v) for name, v in more.items()}
    with use(App(Settings.from_env(variables, verifies=False), clock)) as app:
        yield app


@pytest.fixture(params=["database", "url"])
def source(request: pytest.FixtureRequest, people: People, clock: Clock) -> Iterator[str]:
    """Each source of a guard in turn."""
    kind: str = request.param
    if kind == "database":
        yield kind
        return
    stub = request.getfixturevalue("over_http")
    with asking(stub.url, clock):
        yield kind
