"""A scheduled invocation: all tasks of a server, in turns, within its time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from ipaddress import ip_network
from typing import Any

import pytest

from tests.emulator.pushes_support import Together, together
from tests.emulator.world import World
from tests.receivers import Receiver
from tests.store.store_support import LogLines
from tests.support import Clock
from usher.core import scheduled
from usher.core.app import App, use
from usher.core.errors import (
    DatabaseAwayError,
    DatabaseError,
    IdentityUnavailableError,
    OutOfTimeError,
)
from usher.core.periodic import OF_SERVERS, TASKS
from usher.core.scheduled import CALL_SECONDS, NO_WAY, SPARE_SECONDS, Turn, take_turns
from usher.core.settings import Settings
from usher.server import app as server

HOUR = 3600


@pytest.fixture
def site(
    make: Callable[..., World],
    make_settings: Callable[..., Settings],
    database_url: str,
    clock: Clock,
) -> Iterator[Together]:
    """A site that syncs by the hour, with an account of which Identity sent no event."""
    with ExitStack() as stack:
        networks = (ip_network("127.0.0.0/8"),)
        settings = {"sync_interval_seconds": HOUR, "sink_networks": networks}
        found = stack.enter_context(together(make, make_settings, database_url, clock, **settings))
        found.world.account_without_event()
        clock.advance(seconds=60)
        yield found


def pending(site: Together) -> str:
    """Somebody whose role Identity could not be told, since it was away."""
    user_id = site.member()
    site.stop()
    site.api("PUT", f"/users/{user_id}/roles/editor")
    site.start()
    site.clock.advance(seconds=90)
    assert "editor" not in site.held(user_id).get("roles", [])
    site.calls.clear()
    return user_id


def emails(site: Together) -> set[str]:
    """Of everybody on record."""
    return {user.email for user in site.app.store.users.page().items}


def test_pushes_and_a_due_sync_are_done_within_an_invocation(site: Together) -> None:
    """A platform without a process between requests needs no other command."""
    user_id = pending(site)
    assert scheduled.run(site.app, lambda: 30.0) == {"done": True}
    assert "editor" in site.held(user_id)["roles"]
    assert "eve@example.com" in emails(site)
    site.calls.clear()
    assert scheduled.run(site.app, lambda: 30.0) == {"done": True}
    assert site.calls == []  # a sync is due by the hour, a push when there is one


def test_without_a_way_to_identity_pushes_and_sync_are_left_and_said(site: Together) -> None:
    """No error: an invocation that has a token does them."""
    user_id = pending(site)
    without = App(site.app.settings, site.clock)
    without.__dict__["identity"] = None
    lines = LogLines()
    assert scheduled.run(without, lambda: 30.0) == {"done": True, "pushes": NO_WAY, "sync": NO_WAY}
    assert lines("maintenance.failed") == []
    without.close()
    assert site.calls == []
    assert scheduled.run(site.app, lambda: 30.0) == {"done": True}
    assert "editor" in site.held(user_id)["roles"]


def test_observe_mode_tells_identity_nothing(
    site: Together, make_settings: Callable[..., Settings]
) -> None:
    """As the server does."""
    pending(site)
    told: dict[str, Any] = {
        "database_url": site.app.settings.database_url,
        "identity_url": site.app.settings.identity_url,
        "jwt_secret": site.app.settings.jwt_secret,
        "sync_interval_seconds": HOUR,
    }
    observing = App(make_settings(**told, mode="observe"), site.clock)
    assert scheduled.run(observing, lambda: 30.0) == {"done": True}
    observing.close()
    assert site.calls == []


def test_no_call_of_identity_is_begun_that_might_not_end_in_time(site: Together) -> None:
    """The push is due as before, and the sync is free for the next invocation at once."""
    user_id = pending(site)
    left = [30.0]

    def late(what: str) -> None:
        if what.startswith("GET /admin/users"):
            left[0] = CALL_SECONDS - 1

    site.before = late
    assert scheduled.run(site.app, lambda: left[0]) == {"done": False}
    assert len(site.calls) == 1
    site.before = None
    other = App(site.app.settings, site.clock)
    site.clock.advance(seconds=2)  # of a push that was begun, by its back-off
    with use(other):
        assert scheduled.run(other, lambda: 30.0) == {"done": True}
    assert "editor" in site.held(user_id)["roles"]
    assert "eve@example.com" in emails(site)


def test_a_change_that_there_is_no_time_to_ask_about_waits_and_has_not_failed(
    site: Together, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next invocation hands it over."""
    left = [30.0]
    accounts = site.app.accounts
    assert accounts is not None
    has = accounts.has

    def late(user_id: Any) -> bool:
        left[0] = CALL_SECONDS - 1
        return has(user_id)

    lines = LogLines()
    with Receiver() as receiver:
        site.app.sinks.add(f"http://127.0.0.1:{receiver.port}/", ["user.confirmed"], "cli:ada")
        fay = site.member("fay@example.com")
        with monkeypatch.context() as patched:
            patched.setattr(accounts, "has", late)
            assert scheduled.run(site.app, lambda: left[0]) == {"done": False}
        assert receiver.came == []
        assert scheduled.run(site.app, lambda: 30.0) == {"done": True}
        told = [json.loads(each.body)["data"]["user_id"] for each in receiver.came]
        assert told.count(fay) == 1
    assert lines("outbox.failed") == []


class KilledError(BaseException):
    """The platform ends the process."""


def test_what_a_killed_invocation_had_taken_is_done_by_a_later_one(site: Together) -> None:
    """Wherever it was: leases end within a minute or so."""
    user_id = pending(site)
    for last in (1, 2, 3):
        dying = App(site.app.settings, site.clock)
        transport: Any = dying.identity._admin  # type: ignore[union-attr]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(transport, "request", dies_after(last, transport.request))
            patched.setattr("usher.core.store.syncs.release", lambda *_: None)  # as the dead do
            with suppress(KilledError):
                scheduled.run(dying, lambda: 30.0)
        dying.close()
        site.clock.advance(seconds=90)
    assert scheduled.run(site.app, lambda: 30.0) == {"done": True}
    assert site.held(user_id)["roles"].count("editor") == 1
    assert "eve@example.com" in emails(site)
    assert [action for action, _ in site.audit(user_id)].count("role.granted") == 1


def dies_after(calls: int, request: Callable[..., Any]) -> Callable[..., Any]:
    """Identity hears so many calls; the answer to the last never comes."""
    heard = []

    def ask(*args: Any) -> Any:
        heard.append(args)
        answer = request(*args)
        if len(heard) == calls:
            raise KilledError
        return answer

    return ask


def test_of_two_invocations_at_once_one_pushes_and_one_syncs(site: Together) -> None:
    """The other finds the leases taken, and says that it is done."""
    user_id = pending(site)
    other, said = App(site.app.settings, site.clock), []
    transport: Any = site.app.identity._admin  # type: ignore[union-attr]
    request = transport.request

    def meanwhile(*args: Any) -> Any:
        transport.request = request
        said.append(scheduled.run(other, lambda: 30.0))
        return request(*args)

    transport.request = meanwhile
    assert scheduled.run(site.app, lambda: 30.0) == {"done": True}
    other.close()
    assert said == [{"done": True}]
    assert site.calls.count(f"PUT /admin/users/{user_id}") == 1
    assert "eve@example.com" in emails(site)


def test_one_task_that_fails_keeps_no_other_from_its_turns(site: Together) -> None:
    """It is logged by its name, and the invocation fails in the end, so that somebody sees it."""
    pending(site)
    site.stop()
    sync = site.app.sync
    sync._sleep = site.app.identity._sleep = lambda _: None  # type: ignore[union-attr]
    lines = LogLines()
    took: list[str] = []
    site.app.maintenance.step = Left("step", 0, took)  # type: ignore[method-assign]
    with pytest.raises(IdentityUnavailableError):
        scheduled.run(site.app, lambda: 30.0)
    assert [line["task"] for line in lines("maintenance.failed")] == ["sync"]
    assert took == ["step"]
    site.start()


# --- turns -----------------------------------------------------------------------------------


class Left:
    """A step with so much to do; notes its calls."""

    def __init__(self, name: str, count: int, taken: list[str]) -> None:
        self.name, self.count, self.taken = name, count, taken

    def __call__(self) -> bool:
        self.taken.append(self.name)
        self.count -= 1
        return self.count >= 0


def test_turns_go_round_while_there_is_time() -> None:
    """One that has much to do keeps no other waiting."""
    taken: list[str] = []
    problems: list[Exception] = []
    turns = [Turn(name, Left(name, count, taken)) for name, count in (("a", 3), ("b", 1))]
    assert take_turns(turns, lambda: 30.0, problems)
    assert sorted(taken[:2]) == ["a", "b"]
    assert sorted(taken) == ["a"] * 4 + ["b"] * 2
    assert problems == []


def test_no_step_is_begun_that_might_not_end_in_time() -> None:
    """Each has its own measure; what was left is said."""
    taken: list[str] = []
    turns = [Turn("a", Left("a", 9, taken)), Turn("b", Left("b", 9, taken), CALL_SECONDS)]
    assert not take_turns(turns, lambda: CALL_SECONDS - len(taken), [])
    assert taken.count("b") <= 1
    assert len(taken) == CALL_SECONDS - SPARE_SECONDS + 1


def test_failures_are_kept_and_a_database_that_is_away_ends_all() -> None:
    """Each of the others would wait for it in vain."""
    taken: list[str] = []
    problems: list[Exception] = []

    def fails(error: Exception) -> Callable[[], bool]:
        def step() -> bool:
            raise error

        return step

    refused, away = DatabaseError("no"), DatabaseAwayError("gone")
    turns = [
        Turn("a", Left("a", 3, taken)),
        Turn("b", fails(refused)),
        Turn("c", fails(ValueError())),
    ]
    assert take_turns(turns, lambda: 30.0, problems)
    assert taken == ["a"] * 4
    assert {type(each) for each in problems} == {DatabaseError, ValueError}
    taken.clear()
    assert not take_turns(
        [Turn("a", Left("a", 9, taken)), Turn("b", fails(away))], lambda: 30.0, problems
    )
    assert len(taken) <= 1
    assert problems[-1] is away
    assert not take_turns([Turn("a", fails(OutOfTimeError()))], lambda: 30.0, [])


# --- one list --------------------------------------------------------------------------------


def test_a_server_runs_the_same_tasks_and_those_that_the_table_excuses(
    make_settings: Callable[..., Settings], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new periodic task is in the table, or a test fails: no platform forgets it."""
    settings = {
        "jwt_secret": b"j" * 40,
        "identity_url": "http://127.0.0.1:1",
        "metrics_token": "m" * 40,
    }
    started: list[str] = []

    class Loop:
        def create_task(self, task: Any) -> Any:
            task.close()

    async def note(_step: Any, task: str, **_: Any) -> None:
        """Never awaited."""

    def run(step: Any, task: str, **more: Any) -> Any:
        started.append(task)
        return note(step, task, **more)

    monkeypatch.setattr(server, "run_periodically", run)
    made = make_settings(database_url=sqlite_url, sync_interval_seconds=60, **settings)
    with use(App(made)):
        application = server.Application()
        application.__rsgi_init__(Loop())  # type: ignore[arg-type]
        application._tasks = []
        application.__rsgi_del__(None)  # type: ignore[arg-type]
    assert sorted(started) == sorted([*(task.name for task in TASKS), *OF_SERVERS])
    assert all(OF_SERVERS.values())
