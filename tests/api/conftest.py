"""The App with a secret for access tokens, and people in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.api.api_support import JWT_SECRET, People
from tests.support import Clock
from usher.core.app import App, use
from usher.core.settings import Settings


@pytest.fixture
def site(database_url: str, make_settings: Callable[..., Settings], clock: Clock) -> Iterator[App]:
    """The App on each database, with access tokens signed by ``JWT_SECRET``."""
    settings = make_settings(
        database_url=database_url,
        jwt_secret=JWT_SECRET,
        allowed_origins=("https://site.example",),
    )
    with use(App(settings, clock)) as app:
        yield app


@pytest.fixture
def people(site: App) -> People:
    """Everybody signed up."""
    return People(site)


@pytest.fixture
def sqlite_people(
    sqlite_url: str, make_settings: Callable[..., Settings], clock: Clock
) -> Iterator[People]:
    """The same on SQLite alone, for long tables."""
    settings = make_settings(
        database_url=sqlite_url,
        jwt_secret=JWT_SECRET,
        allowed_origins=("https://site.example",),
        door=True,
    )
    with use(App(settings, clock)) as app:
        yield People(app)
