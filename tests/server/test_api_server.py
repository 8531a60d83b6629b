"""The API behind the real server: addresses, bounds, and nobody waits for another's Identity."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tests.api.api_support import JWT_SECRET, bearer
from tests.stub import HANG, answering
from tests.support import Server, account, signed
from usher.functions._shared.headers import SECURITY_HEADERS

StartServer = Callable[..., Server]


def headers(server: Server, email: str = "owner@example.com") -> dict[str, str]:
    """An access token of somebody who signs up for it."""
    now = datetime.now(UTC)
    who = account(email=email, at=now)
    assert server.post(signed("signup", who, at=now)).status == 200
    return {"Authorization": "Bearer " + bearer(who.id, now)}


def test_both_addresses_answer_alike(start_server: StartServer, database_url: str) -> None:
    """With the security headers, over HTTP; HEAD without a body; a query is read."""
    server = start_server(database_url, USHER_JWT_SECRET=JWT_SECRET.decode())
    token = headers(server)
    for base in ("/api", "/.netlify/functions/api"):
        answer = server.pool.request("GET", f"{server.url}{base}/users?limit=1", headers=token)
        assert (answer.status, len(answer.json()["users"])) == (200, 1)
        assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
        head = server.pool.request("HEAD", f"{server.url}{base}/me", headers=token)
        assert (head.status, head.data) == (200, b"")
        for path, status in [("", 404), ("/", 404), ("/nothing", 404), ("/me/", 404)]:
            answer = server.pool.request("GET", f"{server.url}{base}{path}", headers=token)
            assert answer.status == status
            assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_body_over_the_cap_is_refused_with_the_apis_headers(
    start_server: StartServer, sqlite_url: str
) -> None:
    """Unread; and the page that sent it can read why."""
    origin = "https://site.example"
    server = start_server(
        sqlite_url, USHER_JWT_SECRET=JWT_SECRET.decode(), USHER_ALLOWED_ORIGINS=origin
    )
    asked = headers(server) | {"Origin": origin, "Content-Type": "application/json"}
    body = b'{"profile":{"a":"' + b"x" * 300_000 + b'"}}'
    answer = server.pool.request("PATCH", f"{server.url}/api/me", headers=asked, body=body)
    assert (answer.status, answer.json()["code"]) == (413, "body_too_large")
    assert answer.headers["Access-Control-Allow-Origin"] == origin


def test_a_change_in_broken_chunks_is_none(start_server: StartServer, sqlite_url: str) -> None:
    """The document is whole, and its end never came: 400, and the record is as before."""
    server = start_server(sqlite_url, USHER_JWT_SECRET=JWT_SECRET.decode())
    token = headers(server)
    head = (
        "PATCH /api/me HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: {token['Authorization']}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for end in ("", "zz\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            document = '{"profile":{"a":1}}'
            connection.sendall(f"{head}{len(document):x}\r\n{document}\r\n{end}".encode())
            if not end:
                connection.shutdown(socket.SHUT_WR)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 400 ")
    answer = server.pool.request("GET", f"{server.url}/api/me", headers=token)
    assert answer.json()["profile"] == {}


def test_who_waits_for_a_slow_identity_holds_up_nobody(
    start_server: StartServer, sqlite_url: str
) -> None:
    """Events and public answers go on meanwhile."""
    with answering(HANG) as identity:
        server = start_server(sqlite_url, USHER_IDENTITY_URL=identity.url)
        now = datetime.now(UTC)
        who = account(at=now)
        asked = {"Authorization": "Bearer " + bearer(who.id, now)}
        statuses: list[int] = []

        def ask() -> None:
            answer = server.pool.request("GET", f"{server.url}/api/me", headers=asked)
            statuses.append(answer.status)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(identity.requests) < 4:
            time.sleep(0.01)
        assert server.pool.request("GET", f"{server.url}/api/health").status == 200
        assert server.post(signed("signup", who, at=now)).status == 200
        assert statuses == []
        for thread in threads:
            thread.join()
        assert statuses == [503] * 4


def test_changes_at_once_lose_nothing(start_server: StartServer, database_url: str) -> None:
    """Twenty pieces of one profile, sent together, are all there."""
    server = start_server(database_url, USHER_JWT_SECRET=JWT_SECRET.decode())
    asked = headers(server) | {"Content-Type": "application/json"}
    statuses: list[int] = []

    def edit(number: int) -> None:
        body = json.dumps({"profile": {f"key{number}": number}})
        answer = server.pool.request("PATCH", f"{server.url}/api/me", headers=asked, body=body)
        statuses.append(answer.status)

    threads = [threading.Thread(target=edit, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20
    mine = server.pool.request("GET", f"{server.url}/api/me", headers=asked).json()
    assert mine["profile"] == {f"key{number}": number for number in range(20)}
    assert mine["version"] == 21
