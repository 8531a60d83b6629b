"""Handlers and sinks where there is only a function: by the schedule, within its deadline."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from msgspec import json

from tests.contract.runtime_api import InvocationError, function
from tests.contract.world import VARIABLES
from tests.domain.test_handlers import CHANGE
from tests.receivers import Receiver
from tests.support import ROOT, Clock, account, signed, verified
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.outbox.calls import OverdueError
from usher.core.outbox.consumer import Done, Failed
from usher.core.outbox.handlers import Handler
from usher.core.outbox.in_process import InProcess, by_timer
from usher.core.settings import Settings

HOOKS = """
import time
from usher import after

@after("role.granted", seconds=0.5)
def sleeps(change):
    time.sleep(3600)

@after("role.granted")
def told(change):
    print("told", change.role, flush=True)
"""


@pytest.fixture
def usher(postgresql_url: str, make_settings: Callable[..., Settings]) -> Iterator[App]:
    """The function's installation, as of an hour ago."""
    then = datetime.now(UTC) - timedelta(hours=1)
    networks = (ip_network("127.0.0.0/8"),)
    made = App(make_settings(database_url=postgresql_url, sink_networks=networks), Clock(then))
    yield made
    made.close()


@pytest.fixture
def granted(usher: App) -> Callable[[str], None]:
    """Grant a role to somebody who came then."""
    then = usher.clock()
    who = account(at=then)
    usher.webhooks.process([verified(usher.webhooks, signed("signup", who, at=then), then)])

    def grant(role: str) -> None:
        users = usher.store.users
        users.change(users.get(who.id), administration.grant(role), Change("test"))

    return grant


@pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric runs on Linux only")
def test_a_schedule_hands_changes_over_in_the_function(
    usher: App,
    granted: Callable[[str], None],
    postgresql_url: str,
    policy_file: Path,
    tmp_path: Path,
) -> None:
    """A handler that sleeps is stopped at its limit; other handlers and sinks have their turn."""
    (tmp_path / "lambda_hooks.py").write_text(HOOKS)
    settings: dict[str, Any] = VARIABLES | {
        "USHER_POLICY": str(policy_file),
        "USHER_DATABASE_URL": postgresql_url,
        "USHER_HANDLERS": "lambda_hooks",
        "USHER_SINK_NETWORKS": "127.0.0.0/8",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
    }
    with Receiver() as receiver, function(tmp_path, **settings) as running:
        assert running.invoke({"usher": "maintenance"}) == {"done": True}
        usher.sinks.add(f"http://127.0.0.1:{receiver.port}/", ["role.granted"], "cli:ada")
        granted("editor")
        assert running.invoke({"usher": "maintenance"}) == {"done": True}
        failed = [line["detail"] for line in running.lines() if line["event"] == "outbox.failed"]
        assert failed == ["was stopped after 0.5 s"]
        assert "told editor" in running.log.read_text()
        assert [json.decode(each.body)["data"]["role"] for each in receiver.came] == ["editor"]
    settings["USHER_HANDLERS"] = "no_such_hooks"
    granted("writer")
    with (
        function(tmp_path, **settings) as running,
        pytest.raises(InvocationError, match="no module no_such_hooks"),
    ):
        running.invoke({"usher": "maintenance"})


def test_a_handler_ends_in_time_for_its_failure_to_be_kept() -> None:
    """Its limit is the function's, where that is nearer; the alarm is off afterwards."""
    before = signal.getsignal(signal.SIGALRM)
    handler = Handler("f", frozenset("*"), 30, lambda _: time.sleep(3600))
    sleeping = InProcess(handler, lambda: 2.3, by_timer)
    assert (sleeping.name, sleeping.patterns, sleeping.seconds) == ("handler:f", {"*"}, 30)
    assert sleeping.hand_over(CHANGE) == Failed("was stopped after 0.3 s")
    quick = InProcess(Handler("f", frozenset("*"), 30, lambda _: None), lambda: 60.0, by_timer)
    assert quick.hand_over(CHANGE) == Done()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) == before


def test_a_destructor_that_swallows_the_alarm_is_stopped_too() -> None:
    """What is raised in one is printed and forgotten, so the alarm comes again."""
    raised: list[object] = []

    class Swallowing:
        def __del__(self) -> None:
            try:
                time.sleep(3600)
            except OverdueError as error:
                raised.append(error)

    def handler(_change: object) -> None:
        Swallowing()
        time.sleep(3600)

    sleeping = InProcess(Handler("f", frozenset("*"), 0.2, handler), lambda: 60.0, by_timer)
    assert sleeping.hand_over(CHANGE) == Failed("was stopped after 0.2 s")
    assert len(raised) == 1


def test_another_alarm_stands_in_where_the_system_has_none() -> None:
    """WebAssembly has no timer; a thread beside it has."""
    told: list[float] = []
    handler = Handler("f", frozenset("*"), 30, lambda _: None)
    assert InProcess(handler, lambda: 12.0, told.append).hand_over(CHANGE) == Done()
    assert told == [10.0, 0]
    handler = Handler("f", frozenset("*"), 30, lambda _: signal.raise_signal(signal.SIGALRM))
    stopped = InProcess(handler, lambda: 12.0, told.append).hand_over(CHANGE)
    assert stopped == Failed("was stopped after 10 s")
