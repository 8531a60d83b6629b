"""Handlers beside a running server: changes reach them whatever is killed; nobody else notices."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest

from tests.server.waiting import until
from tests.support import SECRET, Clock, Server, account, signed, verified
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.settings import Settings

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
NAMES = ("good", "site_hooks.sleeps", "site_hooks.raises", "site_hooks.exits",
         "site_hooks.prints", "site_hooks.grows")  # fmt: skip


class Site:
    """An installation with people who came an hour ago."""

    def __init__(self, database_url: str) -> None:
        then = datetime.now(UTC) - timedelta(hours=1)
        self.app = App(Settings(database_url=database_url, webhook_secrets=(SECRET,)), Clock(then))
        people = [account(user_id=UUID(int=n << 127 | n + 1), at=then) for n in range(2)]
        webhooks = self.app.webhooks
        events = [signed("signup", each, at=then) for each in people]
        webhooks.process([verified(webhooks, each, then) for each in events])
        self.people = [each.id for each in people]
        self.granted: dict[str, list[str]] = defaultdict(list)
        self._names = (f"role-{n}" for n in count())

    def grant(self) -> None:
        """Give everybody one more role."""
        users, role = self.app.store.users, next(self._names)
        for each in self.people:
            users.change(users.get(each), administration.grant(role), Change("test"))
            self.granted[str(each)].append(role)

    def told(self) -> dict[str, list[str]]:
        """The roles of each person, as the good handler was told; a repeated change counts once."""
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for user, role, key, _ in lines("good"):
            assert found[user].setdefault(role, key) == key
        return {user: list(roles) for user, roles in found.items()}

    def is_told(self) -> bool:
        """Whether the good handler knows all."""
        return self.told() == self.granted


def lines(name: str) -> list[list[str]]:
    """What a handler noted."""
    path = Path(name)
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def process_of(server: Server, module: str) -> int:
    """The process below a server that runs this module of ours."""
    listed = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    [pid] = [
        int(pid)
        for pid, parent, args in rows
        if int(parent) == server.process.pid and module in args
    ]
    return pid


def lives(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


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

    runner = process_of(server, "usher.server.outbox_process")
    os.kill(runner, signal.SIGKILL)
    site.grant()
    until(site.is_told)
    assert process_of(server, "usher.server.outbox_process") != runner

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
