"""A guard beside the same database: what it needs, and what it makes of a database that is away."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from tests.api.api_support import BOSS, JWT_SECRET, People, bearer
from tests.integrations.sites import FRAMEWORKS, application, call_asgi, call_wsgi
from tests.store.store_support import end_sleepers
from tests.support import NOON, SECRET, Clock, account, call, signed
from usher.core import app as app_module
from usher.core.app import App, use
from usher.core.domain import administration
from usher.core.errors import DatabaseAwayError, GuardError, UsherError
from usher.core.settings import Settings
from usher.integrations.guard import Guard, Visit


@pytest.fixture
def everybody(
    database_url: str, make_settings: Callable[..., Settings], clock: Clock
) -> Iterator[People]:
    """On each database."""
    settings = make_settings(database_url=database_url, jwt_secret=JWT_SECRET)
    with use(App(settings, clock)) as app:
        yield People(app)


def visit(people: People, name: str = "user", **claims: Any) -> Visit:
    """A request by one of them."""
    return Visit("GET", (people.token(name, **claims),))


def test_every_change_is_seen_by_the_next_request(everybody: People) -> None:
    """Given, taken away, ended by itself, suspended."""
    guard, users = Guard(), everybody.app.store.users

    def change(command: Any) -> None:
        users.change(users.get(everybody.ids["user"]), command, BOSS)

    assert guard.check(visit(everybody)).roles == {"member", "staff"}
    change(administration.grant("editor"))
    assert guard.check(visit(everybody), {"editor", "author"}).email == "user@example.com"
    change(administration.revoke("editor"))
    with pytest.raises(UsherError, match="'author', 'editor'"):
        guard.check(visit(everybody), {"editor", "author"})
    change(administration.suspend())
    with pytest.raises(UsherError, match="suspended"):
        guard.check(visit(everybody))


def test_many_first_requests_at_once_make_one_record(everybody: People) -> None:
    """All of them pass."""
    stranger, guard = uuid4(), Guard()
    asked = Visit("GET", (f"Bearer {bearer(stranger, NOON)}",))
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: guard.check(asked).id, range(8)))
    assert found == {stranger}
    entries = everybody.app.store.users.audit_page(limit=200).items
    assert [entry.action for entry in entries if entry.user_id == stranger] == ["user.created"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_many_requests_at_once_are_answered_each_for_itself(framework: str, people: People) -> None:
    """Good, forged and shut out, in threads or in one event loop: nobody gets another's answer."""
    app = application(framework)
    offered = {
        "user": (people.token("user"), 200),
        "other": (people.token("other"), 200),
        "suspended": (people.token("suspended"), 403),
        "forged": (people.token("user", exp=1), 401),
    }
    names = list(offered) * 25

    async def all_at_once() -> list[Any]:
        calls = [
            call_asgi(app, "GET", "/account", [("Authorization", offered[name][0])])
            for name in names
        ]
        return await asyncio.gather(*calls)

    if FRAMEWORKS[framework] == "asgi":
        answers = asyncio.run(all_at_once())
    else:
        with ThreadPoolExecutor(16) as pool:
            headers = ([("Authorization", offered[name][0])] for name in names)
            answers = list(pool.map(lambda h: call_wsgi(app, "GET", "/account", h), headers))
    for name, answer in zip(names, answers, strict=True):
        assert answer.status == offered[name][1]
        if answer.status == 200:
            assert answer.json["id"] == str(people.ids[name])
    assert Counter(answer.status for answer in answers) == {200: 50, 403: 25, 401: 25}


def test_a_guard_with_nothing_set_names_both_ways_to_set_it_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who only has an address of an Usher must not look for a database."""
    monkeypatch.chdir(tmp_path)
    with (
        use(App(Settings.from_env({}, verifies=False))),
        capture_logs() as lines,
        pytest.raises(GuardError),
    ):
        Guard().check(Visit("GET", ("Bearer x",)))
    assert [line["event"] for line in lines] == ["guard.failed"]
    for name in ("USHER_URL", "USHER_DATABASE_URL", "USHER_JWT_SECRET", "USHER_IDENTITY_URL"):
        assert name in lines[0]["detail"]


def test_a_database_that_is_away_lets_nobody_in(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503; by choice the last answer counts, for a while, and only for who had one."""
    strict, lenient = Guard(), Guard(stale_ok=60)
    assert lenient.check(visit(people)).roles == {"member", "staff"}
    database = type(people.app.store.database)

    def away(*_: object) -> Any:
        raise DatabaseAwayError("The database cannot be used: it is away.")

    monkeypatch.setattr(database, "read", away)
    with capture_logs() as lines, pytest.raises(GuardError):
        strict.check(visit(people))
    assert [line["event"] for line in lines] == ["guard.failed"]
    assert lines[0]["code"] == "database_unavailable"
    clock = people.app.clock
    assert isinstance(clock, Clock)
    assert lenient.check(visit(people)).roles == {"member", "staff"}
    with pytest.raises(GuardError):
        lenient.check(visit(people, "other"))
    with pytest.raises(UsherError, match="access token"):
        lenient.check(visit(people, exp=1))
    clock.advance(seconds=61)
    with pytest.raises(GuardError):
        lenient.check(visit(people))


def test_a_database_that_is_silent_holds_no_thread_for_ever(
    postgresql_url: str, make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 after a while, whatever the server before it does; the next request is answered."""
    monkeypatch.setattr("usher.integrations.sources.HUNG_SECONDS", 0.2)
    monkeypatch.setattr("usher.integrations.sources.WATCH_SECONDS", 0.05)
    settings = make_settings(database_url=postgresql_url, jwt_secret=JWT_SECRET)
    with use(App(settings, lambda: NOON)) as app:
        people, guard, users = People(app), Guard(), app.store.users
        usual = users.look_up

        def silent(user_id: UUID) -> Any:
            with app.store.database.read() as transaction:
                transaction.sql.execute(text("SELECT pg_sleep(600)"))
            return usual(user_id)

        monkeypatch.setattr(users, "look_up", silent)
        with pytest.raises(GuardError):
            guard.check(visit(people))
        monkeypatch.setattr(users, "look_up", usual)
        assert guard.check(visit(people)).id == people.ids["user"]
        end_sleepers(app.store.database)


def test_a_lenient_guard_asks_the_database_each_time(people: People) -> None:
    """An older answer counts while it is away, and not otherwise."""
    lenient, users = Guard(stale_ok=3600), people.app.store.users
    assert lenient.check(visit(people), {"staff"})
    users.change(users.get(people.ids["user"]), administration.set_roles([]), BOSS)
    with pytest.raises(UsherError, match="'staff'"):
        lenient.check(visit(people), {"staff"})


@pytest.fixture
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A process without an App, as a site's own is, with these settings alone."""
    monkeypatch.setattr(app_module, "_current", None)

    def has(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"USHER_{name.upper()}", value)

    yield has
    if app_module._current is not None:
        app_module._current.close()


def test_no_webhook_secret_is_needed(
    sqlite_url: str, policy_file: Path, own_process: Callable[..., None]
) -> None:
    """A guard reads the environment at its first request; such a process takes no event."""
    guard = Guard()
    own_process(
        database_url=sqlite_url,
        jwt_secret="j" * 32,
        policy=str(policy_file),
        instance_id="00000000-0000-0000-0000-000000000000",
    )
    claims = bearer(uuid4(), app_module.utc_now(), b"j" * 32)
    assert guard.check(Visit("GET", (f"Bearer {claims}",))).roles == {"member"}
    event = signed("signup", account(), at=app_module.utc_now(), secret=SECRET)
    assert call(event)["statusCode"] == 401


def test_a_hosts_own_logging_stays(sqlite_url: str, own_process: Callable[..., None]) -> None:
    """A guest configures nothing of it."""
    import structlog

    own_process(database_url=sqlite_url, jwt_secret="j" * 32)
    before = structlog.get_config()
    try:
        structlog.configure(wrapper_class=structlog.BoundLogger)
        with pytest.raises(UsherError):
            Guard().check(Visit("GET", ("Bearer x",)))
        assert structlog.get_config()["wrapper_class"] is structlog.BoundLogger
    finally:
        structlog.configure(**before)


@pytest.mark.parametrize(
    "variables",
    [
        {"databse_url": "sqlite:///usher.db"},
        {"url": "usher.example"},
        {"database_url": "sqlite:////nowhere/at/all.db"},
        {"policy": "nowhere.toml"},
    ],
    ids=lambda value: next(iter(value)),
)
def test_wrong_settings_let_nobody_in(
    sqlite_url: str, own_process: Callable[..., None], variables: dict[str, str]
) -> None:
    """503 and a line in the log; never a 500, and never open."""
    usual = {
        "database_url": sqlite_url,
        "jwt_secret": "j" * 32,
        "instance_id": "00000000-0000-0000-0000-000000000000",
    }
    own_process(**(usual | variables))
    token = bearer(uuid4(), app_module.utc_now(), b"j" * 32)
    with capture_logs() as lines, pytest.raises(GuardError):
        Guard().check(Visit("GET", (f"Bearer {token}",)))
    assert [line["event"] for line in lines] == ["guard.failed"]
    assert "USHER_DATABSE_URL" not in os.environ or "USHER_DATABSE_URL" in lines[0]["detail"]


def test_without_a_way_to_check_a_token_nobody_gets_in(
    sqlite_url: str, own_process: Callable[..., None]
) -> None:
    """There is no open mode."""
    own_process(database_url=sqlite_url)
    token = bearer(uuid4(), app_module.utc_now(), b"j" * 32)
    with pytest.raises(GuardError):
        Guard().check(Visit("GET", (f"Bearer {token}",)))
