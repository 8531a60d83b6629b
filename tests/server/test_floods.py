"""Slow clients, floods of headers, idle connections, and callers who ask too often."""

from __future__ import annotations

import resource
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import pytest
import urllib3

from tests.api.api_support import JWT_SECRET, bearer
from tests.server.outages import ready
from tests.server.test_server import now, signup
from tests.support import SECRET, WAIT_SECONDS, Server, account
from usher.core.app import App
from usher.core.domain.keys import NewKey, Scope
from usher.core.settings import Settings
from usher.emulator.payload import ZERO_INSTANCE

StartServer = Callable[..., Server]
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CHUNKED = (
    b"POST /.netlify/functions/identity HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
KEPT_ALIVE = HEAD + b"\r\n"


def until_closed(server: Server, first: bytes, again: bytes) -> tuple[float, bytes]:
    """Send ``first``, then ``again`` twice a second; how long until cut off, and what came back.

    Raises:
        TimeoutError: it never was.
    """
    with closing(socket.create_connection(("127.0.0.1", server.port), 30)) as connection:
        started = time.monotonic()
        connection.settimeout(0.5)
        received = b""
        while time.monotonic() - started < WAIT_SECONDS:
            try:
                if first or again:
                    connection.sendall(first or again)
                first = b""
                piece = connection.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                return time.monotonic() - started, received
            received += piece
            if not piece or b" 408 " in received:
                return time.monotonic() - started, received
        raise TimeoutError(received)


def test_who_is_slow_is_cut_off_and_holds_up_nobody(
    start_server: StartServer, sqlite_url: str
) -> None:
    """Headers byte by byte, no byte at all, nothing after an answer, an endless chunked body."""
    server = start_server(sqlite_url)
    clients = {
        "headers": (HEAD, b"X: y\r\n"),
        "silent": (b"", b""),
        "kept alive": (KEPT_ALIVE, b""),
        "chunks": (CHUNKED, b"1\r\n \r\n"),
    }
    with ThreadPoolExecutor(len(clients)) as crowd:
        ends = {name: crowd.submit(until_closed, server, *sent) for name, sent in clients.items()}
        for _ in range(20):
            assert server.post(signup()).status == 200
        for name, end in ends.items():
            seconds, received = end.result()
            assert seconds > 8, name
            assert received.startswith(b"HTTP/1.1 408 ") is (name == "chunks"), name


@pytest.mark.parametrize(
    "headers",
    [b"".join(b"X-%d: y\r\n" % i for i in range(10_000)), b"X: " + b"a" * 500_000 + b"\r\n"],
    ids=["10,000 headers", "half a megabyte in one"],
)
def test_a_flood_of_headers_is_431(
    start_server: StartServer, sqlite_url: str, headers: bytes
) -> None:
    """Refused as soon as they are too many, whoever is asked for."""
    server = start_server(sqlite_url)
    with closing(socket.create_connection(("127.0.0.1", server.port), 10)) as connection:
        with suppress(OSError):  # the server may close before it has read all
            connection.sendall(HEAD + headers + b"\r\n")
        answer = b""
        with suppress(ConnectionResetError):
            answer = connection.recv(100)
    assert answer[:12] in {b"HTTP/1.1 431", b""}
    assert server.post(signup()).status == 200


@contextmanager
def many_files(wanted: int) -> Iterator[None]:
    """As many sockets as the test needs, where the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("the system allows too few open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_idle_connections_than_granian_takes_by_itself_hold_up_nobody(
    start_server: StartServer, sqlite_url: str
) -> None:
    """With 1,500 connections that say nothing an event is answered at once, not after 10 s."""
    server = start_server(sqlite_url)
    with many_files(4096):
        idle = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(1500)]
        try:
            server.pool.clear()
            assert server.post(signup()).status == 200
            idle[-1].setblocking(False)
            with pytest.raises(BlockingIOError):  # it was not this one's end that made room
                idle[-1].recv(1)
        finally:
            for connection in idle:
                connection.close()


def test_however_many_ask_whether_it_is_ready_one_looks(
    start_server: StartServer, sqlite_url: str
) -> None:
    """A look takes the write lock, and anybody may ask: forty wait no longer than two."""
    server = start_server(sqlite_url)
    path = sqlite_url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")  # for which a look waits two seconds
        started = time.monotonic()
        with ThreadPoolExecutor(40) as crowd:
            told = list(crowd.map(lambda _: ready(server), range(40)))
        assert time.monotonic() - started < 60  # one after another they take 80
    assert set(told) == {"degraded"}
    assert ready(server) == "ok"


# --- too often -----------------------------------------------------------------------------------


def me(server: Server, email: str, **headers: str) -> urllib3.BaseHTTPResponse:
    """One request of the API by somebody."""
    token = bearer(PEOPLE[email], now())
    sent = {"Authorization": f"Bearer {token}"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return server.pool.request("GET", f"{server.url}/api/me", headers=sent)


PEOPLE = {email: account(email=email).id for email in ("ada@example.com", "bob@example.com")}


def test_one_person_is_told_to_wait_and_nobody_else(
    start_server: StartServer, sqlite_url: str
) -> None:
    """The sixth of five a minute is 429, and says when to come again; others are served."""
    server = start_server(
        sqlite_url,
        USHER_INSTANCE_ID=str(ZERO_INSTANCE),
        USHER_JWT_SECRET=JWT_SECRET.decode(),
        USHER_API_REQUESTS_PER_MINUTE="5",
    )
    assert [me(server, "ada@example.com").status for _ in range(5)] == [200] * 5
    refused = me(server, "ada@example.com")
    assert (refused.status, refused.json()["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 12
    assert refused.json()["detail"].startswith("Ask again in ")
    assert me(server, "bob@example.com").status == 200


def test_one_address_is_told_to_wait(start_server: StartServer, sqlite_url: str) -> None:
    """Behind a trusted proxy the address is the one it names; a made-up one before it is not."""
    server = start_server(
        sqlite_url,
        USHER_API_ADDRESS_REQUESTS_PER_MINUTE="3",
        USHER_TRUSTED_PROXIES="127.0.0.1",
    )

    def ask(forwarded: str) -> int:
        headers = {"X-Forwarded-For": forwarded, "Origin": "https://other.example"}
        return server.pool.request("GET", f"{server.url}/api/health", headers=headers).status

    assert [ask(f"1.1.1.{i}, 9.9.9.9") for i in range(4)] == [200, 200, 200, 429]
    assert ask("8.8.8.8") == 200
    assert [ask("10.0.0.7") for _ in range(6)] == [200] * 6  # private: not counted


def test_the_client_that_a_guard_names_is_told_to_wait_and_not_the_guard(
    start_server: StartServer, sqlite_url: str
) -> None:
    """From the guard's second request on, by its key; of nobody else is a name believed."""
    settings = Settings(webhook_secrets=(SECRET,), database_url=sqlite_url)
    wanted = NewKey("site", frozenset({Scope.CLIENTS_NAME}), None)
    with closing(App(settings)) as app:
        text, _ = app.keys.create(wanted, "cli:ada")
    server = start_server(
        sqlite_url,
        USHER_INSTANCE_ID=str(ZERO_INSTANCE),
        USHER_JWT_SECRET=JWT_SECRET.decode(),
        USHER_API_ADDRESS_REQUESTS_PER_MINUTE="3",
        USHER_TRUSTED_PROXIES="127.0.0.1",
    )

    def ask(guard: str, named: str, key: str = text) -> int:
        headers = {"X-Forwarded-For": guard, "Usher-Key": key, "Usher-Client": named}
        return me(server, "ada@example.com", **headers).status

    assert ask("9.9.9.9", "1.1.1.1") == 200  # counted as the guard's own, which is not known yet
    assert [ask("9.9.9.9", "1.1.1.1") for _ in range(4)] == [200, 200, 200, 429]
    assert [ask("9.9.9.9", f"1.1.1.{i}") for i in range(2, 9)] == [200] * 7
    assert [ask("7.7.7.7", f"1.1.2.{i}", "usher_x") for i in range(4)] == [200, 200, 200, 429]


def test_events_are_never_limited(start_server: StartServer, sqlite_url: str) -> None:
    """However many, from one address, while the API's limits are at their narrowest."""
    server = start_server(
        sqlite_url,
        USHER_API_REQUESTS_PER_MINUTE="1",
        USHER_API_ADDRESS_REQUESTS_PER_MINUTE="1",
        USHER_TRUSTED_PROXIES="127.0.0.1",
    )
    for _ in range(20):
        delivery = signup()
        url = f"{server.url}/.netlify/functions/identity"
        headers = delivery.headers | {"X-Forwarded-For": "9.9.9.9"}
        answer = server.pool.request("POST", url, body=delivery.body, headers=headers)
        assert answer.status == 200
