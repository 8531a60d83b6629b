"""A site with people, whose changes are handed over beside a server."""

from __future__ import annotations

import subprocess
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import count
from pathlib import Path
from uuid import UUID

from tests.support import SECRET, Clock, Server, account, signed, verified
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.settings import Settings
from usher.emulator.payload import Account

LOOPBACK = "127.0.0.0/8"


class Site:
    """An installation with people who came an hour ago."""

    def __init__(self, database_url: str) -> None:
        then = datetime.now(UTC) - timedelta(hours=1)
        settings = Settings(
            database_url=database_url,
            webhook_secrets=(SECRET,),
            sink_networks=(ip_network(LOOPBACK),),
        )
        self.app = App(settings, Clock(then))
        self._then = then
        people = [account(user_id=UUID(int=n << 127 | n + 1), at=then) for n in range(2)]
        self.welcome(people)
        self.people = [each.id for each in people]
        self.granted: dict[str, list[str]] = defaultdict(list)
        self._names = (f"role-{n}" for n in count())

    def welcome(self, people: Sequence[Account]) -> None:
        """Let people sign up, an hour ago."""
        webhooks, then = self.app.webhooks, self._then
        events = [signed("signup", each, at=then) for each in people]
        webhooks.process([verified(webhooks, each, then) for each in events])

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


def processes_of(server: Server, module: str) -> list[int]:
    """The processes right below a server that run this module of ours."""
    listed = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()[1:]]
    return [
        int(pid)
        for pid, parent, args in rows
        if int(parent) == server.process.pid and module in args
    ]


def lives(pid: int) -> bool:
    """Whether there is such a process that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
