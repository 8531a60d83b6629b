"""Handlers beside a running server: changes reach them whatever is killed; nobody else notices."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.receivers import Receiver
from tests.server.outbox_site import LOOPBACK, Site, lines, lives, processes_of
from tests.server.waiting import until
from tests.support import Server, account, signed

HOOKS = """
import os, sys, time
from pathlib import Path
from usher import Change, after

def note(name, *what):
    with open(name, "a") as file:
        file.write(" ".join(map(str, what)) + "\\n")

@after("role.*", name="good")
def good(change: Change) -> None:
    note("good", change.user.id, change.role, change.id, os.getpid())

@after("role.*", seconds=2)
def sleeps(change: Change) -> None:
    note("sleeping", os.getpid())
    time.sleep(3600)

@after("role.*")
def raises(change: Change) -> None:
    raise ValueError(change.user.email)

@after("role.*")
def exits(change: Change) -> None:
    os._exit(7)

@after("role.*")
def prints(change: Change) -> None:
    for _ in range(20):
        print("x" * 99_999)
    note("printed", change.id)

@after("role.*")
def grows(change: Change) -> None:
    held = []
    while True:
        held.append(bytearray(1 << 28))
"""
SLOW = """
import time
from pathlib import Path
from usher import after

Path("importing").touch()
while not Path("imported").exists():
    time.sleep(0.05)

@after("user.changed")
def told(change):
    Path("told").write_text(str(change.user.user_metadata))
"""
NAMES = ("good", "site_hooks.sleeps", "site_hooks.raises", "site_hooks.exits",
         "site_hooks.prints", "site_hooks.grows")  # fmt: skip


@pytest.fixture
def site(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The installation, in the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("site_hooks.py").write_text(HOOKS)
    made = Site(database_url)
    yield made
    made.app.close()


def test_every_change_reaches_a_good_handler_whatever_others_do_and_whatever_is_killed(
    site: Site, database_url: str, start_server: Callable[..., Server]
) -> None:
    """One sleeps, raises, exits, prints, grows; its process, the runner, the server are killed."""

    def begin() -> Server:
        return start_server(database_url, USHER_HANDLERS="site_hooks")

    server = begin()
    until(lambda: all(f'"handler:{each}","position"' in server.log.read_text() for each in NAMES))
    site.grant()
    site.grant()
    until(site.is_told)
    until(lambda: len(lines("printed")) == 4)

    os.kill(int(lines("good")[-1][3]), signal.SIGKILL)
    site.grant()
    until(site.is_told)

    [runner] = processes_of(server, "usher.server.outbox_process")
    os.kill(runner, signal.SIGKILL)
    site.grant()
    until(site.is_told)
    assert processes_of(server, "usher.server.outbox_process") != [runner]

    who = account(at=datetime.now(UTC))
    assert server.post(signed("signup", who, at=datetime.now(UTC))).status == 200
    server.kill()
    site.grant()
    server = begin()
    until(site.is_told)
    assert server.post(signed("login", who, at=datetime.now(UTC))).status == 200
    until(lambda: len(site.app.outbox.page(limit=50, cursor=None).items) > 4)
    server.stop()
    until(lambda: not any(lives(int(pid)) for [pid] in lines("sleeping")))
    assert server.log.stat().st_size < 2_000_000


def test_a_new_handler_gets_what_comes_while_its_module_is_imported(
    site: Site, database_url: str, start_server: Callable[..., Server]
) -> None:
    """It begins where the server began; and sinks wait for no import."""
    Path("slow_hooks.py").write_text(SLOW)
    site.grant()  # before its time
    server = start_server(database_url, USHER_HANDLERS="slow_hooks", USHER_SINK_NETWORKS=LOOPBACK)
    now = datetime.now(UTC)
    who = account(user_id=site.people[0], user_metadata={"plan": "gold"}, at=now)
    with Receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        site.app.sinks.add(url, ["user.changed"], "cli:ada")
        assert server.post(signed("login", who, at=now)).status == 200
        until(lambda: receiver.came and Path("importing").exists())
        assert not Path("told").exists()
        Path("imported").touch()
        until(Path("told").exists)
    assert "gold" in Path("told").read_text()
