"""Pushes by real server processes, on both databases, with the real clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.api.api_support import bearer
from tests.emulator.world import JWT_SECRET, MOUNT, OPERATOR, World
from tests.support import SECRET, Server, free_port
from usher.core.jws import read_unverified
from usher.emulator.options import Webhook
from usher.emulator.server import serving

PEOPLE = 6


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Until it holds, or the test fails."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.1)


class Servers:
    """Two servers on one database, and their administrator."""

    def __init__(self, servers: list[Server], boss: str) -> None:
        self.servers = servers
        self.boss = boss

    def api(self, number: int, method: str, path: str) -> Any:
        """A call of one server's API."""
        server = self.servers[number % len(self.servers)]
        token = bearer(UUID(self.boss), datetime.now(UTC), JWT_SECRET)
        answer = server.pool.request(
            method, f"{server.url}/api{path}", headers={"Authorization": f"Bearer {token}"}
        )
        assert answer.status == 200, answer.data
        return answer.json()


def refreshed(world: World, held: dict[str, Any]) -> list[str]:
    """The roles in the next refreshed token."""
    token = world.refresh(held["refresh_token"]).json["access_token"]
    found: list[str] = read_unverified(token, 20_000)["app_metadata"].get("roles", [])
    return found


def test_two_servers_make_up_for_an_outage_exactly_once(
    make: Callable[..., World],
    database_url: str,
    start_server: Callable[..., Server],
    tmp_path: Path,
) -> None:
    """Roles given at either while Identity is away are in the tokens soon after it is back."""
    port = free_port()
    settings = {
        "USHER_JWT_SECRET": JWT_SECRET.decode(),
        "USHER_IDENTITY_URL": f"http://127.0.0.1:{port}{MOUNT}",
        "USHER_IDENTITY_ADMIN_TOKEN": OPERATOR,
    }
    servers = [start_server(database_url, **settings) for _ in range(2)]
    webhook = Webhook(url=f"{servers[0].url}/.netlify/functions/identity", secret=SECRET)
    world = make(webhook=webhook, clock=lambda: datetime.now(UTC))
    both = Servers(servers, world.member("owner@example.com"))
    emails = [f"p{number}@example.com" for number in range(PEOPLE)]
    ids = [world.member(email) for email in emails]
    held = [world.log_in(email).json for email in emails]

    for number, user_id in enumerate(ids):
        told = both.api(number, "PUT", f"/users/{user_id}/roles/editor")
        assert told["identity"] == "pending"
        assert "editor" in told["roles"]
    with ExitStack() as up:
        up.enter_context(serving(world.emulator.handle, port))

        def in_step() -> bool:
            users = both.api(1, "GET", "/users")["users"]
            return all(user["identity"] == "in step" for user in users)

        wait_until(in_step)
        for session in held:
            assert refreshed(world, session) == ["editor", "member", "staff"]
        time.sleep(3)  # two more rounds of each server
        entries = world.admin("GET", "/admin/audit?query=action:user_modified&per_page=500").json
        changed = sorted(entry["payload"]["traits"]["user_id"] for entry in entries)
        assert changed == sorted(ids)
        # A server that found Identity away does not wait for it for a while; the rounds do it then.
        both.api(0, "DELETE", f"/users/{ids[0]}/roles/editor")
        wait_until(in_step)
        assert "editor" not in str(world.admin("GET", f"/admin/users/{ids[0]}").json)

    log = (tmp_path / "server.log").read_text()
    assert log.count('"event":"push.done"') == PEOPLE + 1
    assert '"event":"event.failed"' not in log
    for secret in (OPERATOR, JWT_SECRET.decode(), "Bearer", "eyJ"):
        assert secret not in log
    commands = list(commands_of({server.process.pid for server in servers}))
    assert len(commands) >= len(servers)
    assert not [each for each in commands if OPERATOR.encode() in each]


def commands_of(sessions: set[int]) -> Iterator[bytes]:
    """The command lines of the processes of these sessions."""
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            if os.getsid(int(process.parent.name)) in sessions:
                yield process.read_bytes()
