"""The server as a real process: probes, retries, crowds, stops, kills and rotations."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import pytest
import urllib3
from sqlalchemy import text

from tests.pipeline.outage_support import locked
from tests.server.outages import rows, wait_until
from tests.support import OLD_SECRET, SECRET, WAIT_SECONDS, Server, Signed, account, signed
from usher.core.store.database import Database
from usher.functions._shared.headers import SECURITY_HEADERS

StartServer = Callable[..., Server]


def now() -> datetime:
    """The real time: the server's clock is real."""
    return datetime.now(UTC)


def signup(email: str = "ada@example.com", secret: bytes = SECRET) -> Signed:
    """A fresh signup, signed just now."""
    return signed("signup", account(email=email), at=now(), secret=secret)


def test_the_probes_answer(start_server: StartServer, sqlite_url: str) -> None:
    """Alive, and ready; with every security header; HEAD without a body; no other method."""
    server = start_server(sqlite_url)
    for path in ("/healthz", "/readyz"):
        answer = server.pool.request("GET", server.url + path)
        assert answer.status == 200
        assert answer.json()["status"] == "ok"
        for name, value in SECURITY_HEADERS.items():
            assert answer.headers[name] == value
        assert server.pool.request("HEAD", server.url + path).status == 200
        assert server.pool.request("POST", server.url + path).status == 405


def test_i2_without_a_table_events_wait_in_the_spool_until_it_is_there(
    start_server: StartServer, postgresql_url: str
) -> None:
    """/readyz tells the truth without a restart, and no event is lost."""
    server = start_server(postgresql_url)
    database = Database(postgresql_url)

    def ready() -> str:
        answer = server.pool.request("GET", f"{server.url}/readyz")
        return f"{answer.status} {answer.json()['status']}"

    with database.write() as transaction:
        for table in ("counters", "pushes", "syncs"):
            transaction.sql.execute(text(f"ALTER TABLE {table} RENAME TO {table}_away"))
    try:
        assert ready() == "200 degraded"
        assert server.post(signup()).status == 200
    finally:
        with database.write() as transaction:
            for table in ("counters", "pushes", "syncs"):
                transaction.sql.execute(text(f"ALTER TABLE {table}_away RENAME TO {table}"))
        database.dispose()
    wait_until(lambda: ready() == "200 ok")
    assert rows(postgresql_url, "SELECT reply_status FROM deliveries") == [(200,)]


def test_fifty_identical_deliveries_at_once_have_one_effect(
    start_server: StartServer, database_url: str
) -> None:
    """And fifty identical answers."""
    server = start_server(database_url)
    delivery = signup()
    with ThreadPoolExecutor(50) as crowd:
        answers = list(crowd.map(lambda _: server.post(delivery), range(50)))
    assert {(answer.status, answer.data) for answer in answers} == {(200, answers[0].data)}
    assert rows(database_url, "SELECT count(*) FROM deliveries") == [(1,)]
    assert rows(database_url, "SELECT count(*) FROM users") == [(1,)]


def test_a_crowd_of_different_people_is_stored_whole(
    start_server: StartServer, database_url: str
) -> None:
    """200 signups from 16 connections; each answered in one piece with its length."""
    server = start_server(database_url)
    deliveries = [signup(f"u{number}@example.com") for number in range(200)]
    with ThreadPoolExecutor(16) as crowd:
        answers = list(crowd.map(server.post, deliveries))
    assert {answer.status for answer in answers} == {200}
    assert all(answer.headers["Content-Length"] == str(len(answer.data)) for answer in answers)
    assert not any("Transfer-Encoding" in answer.headers for answer in answers)
    assert rows(database_url, "SELECT count(*) FROM users WHERE status = 'active'") == [(200,)]


class Load:
    """Signups from 8 threads until stopped; remembers what was acknowledged."""

    def __init__(self, server: Server) -> None:
        self.acknowledged: list[str] = []
        self.broken = 0
        self._server = server
        self._stop = Event()
        self._threads = [Thread(target=self._run) for _ in range(8)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            delivery = signup()
            try:
                answer = self._server.post(delivery)
            except urllib3.exceptions.HTTPError:
                self.broken += 1
                return
            if answer.status == 200:
                self.acknowledged.append(json.loads(delivery.body)["user"]["id"])

    def finish(self) -> None:
        """Stop sending and wait."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def consistent(url: str, acknowledged: list[str]) -> None:
    """Everything acknowledged is there, and nothing is half-applied."""
    users = {str(row[0]).replace("-", "") for row in rows(url, "SELECT id FROM users")}
    delivered = {str(r[0]).replace("-", "") for r in rows(url, "SELECT user_id FROM deliveries")}
    assert {user_id.replace("-", "") for user_id in acknowledged} <= users
    assert users == delivered
    grants = rows(url, "SELECT count(*) FROM grants WHERE role = 'member'")
    assert grants == [(len(users),)]


def test_what_was_acknowledged_survives_kill_9(
    start_server: StartServer, database_url: str
) -> None:
    """Killed under load, worker and all; a new server goes on with the same database."""
    server = start_server(database_url)
    load = Load(server)
    time.sleep(0.4)
    server.kill()
    load.finish()
    assert load.acknowledged
    consistent(database_url, load.acknowledged)
    assert start_server(database_url).post(signup()).status == 200


def test_a_stop_finishes_and_commits_what_is_under_way(
    start_server: StartServer, database_url: str
) -> None:
    """SIGTERM under load: the process ends by itself, and nothing acknowledged is missing."""
    server = start_server(database_url)
    load = Load(server)
    time.sleep(0.5)
    server.process.terminate()
    assert server.process.wait(WAIT_SECONDS) == 0
    load.finish()
    assert load.acknowledged
    consistent(database_url, load.acknowledged)


def test_a_client_that_sends_less_than_it_announced_is_answered_408_and_holds_up_nobody(
    start_server: StartServer, sqlite_url: str
) -> None:
    """After ten seconds; meanwhile others are served at once."""
    server = start_server(sqlite_url)
    stuck = []
    for _ in range(80):  # more than any pool of threads would have
        connection = socket.create_connection(("127.0.0.1", server.port), 30)
        connection.sendall(
            b"POST /.netlify/functions/identity HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        stuck.append(connection)
    assert server.post(signup()).status == 200
    stuck[-1].setblocking(False)
    with pytest.raises(BlockingIOError):  # not answered yet: nobody waited for it
        stuck[-1].recv(1)
    answer = stuck[0].recv(1000)
    assert answer.startswith(b"HTTP/1.1 408 ")
    for connection in stuck:
        with suppress(OSError):
            connection.close()


def test_a_rotated_secret_is_accepted_until_it_is_taken_out(
    start_server: StartServer, sqlite_url: str
) -> None:
    """The old one verifies with key_index 1; once removed it is refused."""
    both = start_server(sqlite_url)
    assert both.post(signup(secret=OLD_SECRET)).status == 200
    lines = [json.loads(line) for line in both.log.read_text().splitlines() if line[0] == "{"]
    assert [line["key_index"] for line in lines if line["event"] == "event.applied"] == [1]
    both.stop()
    newest = start_server(sqlite_url, USHER_WEBHOOK_SECRETS=SECRET.decode())
    assert newest.post(signup(secret=OLD_SECRET)).status == 401
    assert newest.post(signup()).status == 200


def test_two_workers_serve_one_postgresql(start_server: StartServer, postgresql_url: str) -> None:
    """The same delivery reaches both; one effect."""
    server = start_server(postgresql_url, "--workers", "2")
    deliveries = [signup(f"w{number}@example.com") for number in range(20)] * 3
    with ThreadPoolExecutor(16) as crowd:
        answers = list(crowd.map(server.post, deliveries))
    assert {answer.status for answer in answers} == {200}
    assert rows(postgresql_url, "SELECT count(*) FROM deliveries") == [(20,)]


def test_the_working_folder_needs_nothing(start_server: StartServer, tmp_path: Path) -> None:
    """A SQLite file that is not there is made and migrated."""
    server = start_server(f"sqlite:///{tmp_path / 'new.db'}")
    assert server.post(signup()).status == 200


def test_no_good_event_is_refused_while_the_secret_is_changed(
    start_server: StartServer, sqlite_url: str
) -> None:
    """Identity signs with the old one, then with the new one, under load; both are listed."""
    server = start_server(sqlite_url)

    def both(number: int) -> int:
        return server.post(
            signup(f"r{number}@example.com", OLD_SECRET if number < 60 else SECRET)
        ).status

    with ThreadPoolExecutor(16) as crowd:
        assert set(crowd.map(both, range(120))) == {200}
    assert rows(sqlite_url, "SELECT count(*) FROM deliveries WHERE key_index = 1") == [(60,)]


def test_what_the_old_secret_signed_is_applied_after_it_was_taken_out(
    start_server: StartServer, database_url: str
) -> None:
    """Kept during an outage by a server that is gone; the next one does not know the secret."""
    old = start_server(database_url)
    delivery = signup(secret=OLD_SECRET)
    with locked(database_url):
        assert old.post(delivery).status == 200
        old.kill()
    newest = start_server(database_url, USHER_WEBHOOK_SECRETS=SECRET.decode())
    wait_until(lambda: rows(database_url, "SELECT reply_status FROM deliveries") == [(200,)])
    assert newest.post(delivery).status == 401
