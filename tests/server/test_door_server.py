"""The door of a running server: a real sign-up at a real Identity, limits, and outages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.cluster import template
from tests.emulator.world import world
from tests.server.outages import Cluster, StartServer, now
from tests.support import SECRET, WAIT_SECONDS, Server, account, apart, signed
from usher.core.bounds import DOOR_ANSWER_BYTES
from usher.core.door import (
    ADDRESS_PER_MINUTE,
    ANSWER_SECONDS,
    NETWORK_PER_MINUTE,
    NO_REASON,
    render,
)
from usher.emulator.options import Webhook

DENIED = "Please use an address that lasts."
FIXED = render(NO_REASON).encode()


def ask(server: Server, email: str, path: str = "door", **headers: str) -> urllib3.BaseHTTPResponse:
    """Ask the door, or something else."""
    return server.pool.request(
        "POST",
        f"{server.url}/api/{path}",
        body=json.dumps({"email": email}),
        headers={"Content-Type": "application/json"} | headers,
    )


def told(server: Server, email: str, message: str = DENIED, **headers: str) -> Any:
    """Ask until it is this sentence: on a slow machine a look-up may come too late."""
    deadline = time.monotonic() + WAIT_SECONDS
    for _ in range(ADDRESS_PER_MINUTE):
        answer = ask(server, email, **headers)
        assert answer.status == 200, answer.data
        if answer.data == render(message).encode() or time.monotonic() > deadline:
            break
    assert json.loads(answer.data)["message"] == message
    return answer


def refused(server: Server, email: str) -> None:
    """Identity asks about a newcomer, and the policy refuses."""
    assert server.post(signed("validate", account(email=email), at=now())).status == 403


def test_door_tells_of_a_real_sign_up(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """Identity hides the policy's sentence; the door has it, and for others only its own."""
    server = start_server(database_url, USHER_DOOR="on", USHER_ALLOWED_ORIGINS="https://a.example")
    hook = f"{server.url}/.netlify/functions/identity"
    with world(tmp_path, webhook=Webhook(url=hook, secret=SECRET), clock=now) as identity:
        reply = identity.sign_up("Ada@mailinator.com", full_name="Ada")
        assert (reply.status, reply.json["msg"]) == (422, "Failed to handle signup webhook")
        assert identity.sign_up("bob@example.com").status == 200
    before = time.monotonic()
    known = told(server, "ada@MAILINATOR.com", Origin="https://a.example")
    other = ask(server, "bob@example.com", Origin="https://a.example")
    assert time.monotonic() - before >= 2 * ANSWER_SECONDS - 0.1  # at least: nobody is early
    assert other.data == FIXED
    assert len(known.data) == len(other.data) == DOOR_ANSWER_BYTES
    kept = [
        sorted((name.lower(), value) for name, value in one.headers.items() if name != "date")
        for one in (known, other)
    ]
    assert kept[0] == kept[1]
    assert ("access-control-allow-origin", "https://a.example") in kept[0]
    assert {"etag", "set-cookie"}.isdisjoint(dict(kept[0]))
    assert "mailinator" not in server.log.read_text()


def test_door_is_not_there_unless_it_is_on(start_server: StartServer, sqlite_url: str) -> None:
    """The answer of an unknown address."""
    server = start_server(sqlite_url)
    answer, nowhere = ask(server, "a@b.c"), ask(server, "a@b.c", "nowhere")
    assert (answer.status, answer.data) == (nowhere.status, nowhere.data)
    assert answer.status == 404


def test_door_counts_by_the_network_behind_a_trusted_proxy(
    start_server: StartServer, sqlite_url: str
) -> None:
    """So many questions of one; others, and the rest of the API, go on."""
    server = start_server(sqlite_url, USHER_DOOR="on", USHER_TRUSTED_PROXIES="127.0.0.1")
    refused(server, "ada@mailinator.com")

    def from_one(number: int) -> int:
        return ask(server, f"a{number}@b.example", **{"X-Forwarded-For": "8.8.4.4"}).status

    with ThreadPoolExecutor(NETWORK_PER_MINUTE) as pool:
        statuses = list(pool.map(from_one, range(NETWORK_PER_MINUTE * 2)))
    assert statuses.count(200) >= NETWORK_PER_MINUTE
    assert statuses.count(429) >= 1
    told(server, "ada@mailinator.com", **{"X-Forwarded-For": "9.9.9.9"})
    told(server, "ada@mailinator.com", **{"X-Forwarded-For": "2001:4860:4860::8888"})
    assert server.pool.request("GET", f"{server.url}/api/health").status == 200


def test_door_counts_callers_without_a_public_address_together(
    start_server: StartServer, sqlite_url: str
) -> None:
    """Behind a proxy that nobody named, all of them share one limit, rather than have none."""
    server = start_server(sqlite_url, USHER_DOOR="on")
    with ThreadPoolExecutor(NETWORK_PER_MINUTE) as pool:
        asked = [f"a{number}@b.example" for number in range(NETWORK_PER_MINUTE * 2)]
        statuses = list(pool.map(lambda email: ask(server, email).status, asked))
    assert {200, 429} == set(statuses)


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL of this test's own."""
    made = template(tmp_path_factory)
    with apart() as folder, closing(Cluster(folder, made)) as found:
        yield found


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_door_says_the_fixed_sentence_while_postgresql_is_away(
    start_server: StartServer, cluster: Cluster, how: str
) -> None:
    """The same bytes, whoever is asked about; and the reason again once it is back."""
    server = start_server(cluster.url, USHER_DOOR="on")
    refused(server, "ada@mailinator.com")
    told(server, "ada@mailinator.com")
    break_it: Callable[[], object] = cluster.kill
    if how == "frozen":
        break_it = lambda: cluster.freeze(on=True)  # noqa: E731 - as the other
    break_it()
    assert [ask(server, f"{name}@mailinator.com").data for name in ("ada", "bob")] == [FIXED] * 2
    refused(server, "eve@mailinator.com")  # into the spool
    if how == "frozen":
        cluster.freeze(on=False)
    else:
        cluster.start()
    deadline = time.monotonic() + WAIT_SECONDS
    while server.pool.request("GET", f"{server.url}/readyz").json()["status"] != "ok":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    told(server, "eve@mailinator.com")
    assert "door.failed" in server.log.read_text()


def test_door_says_the_fixed_sentence_without_its_sqlite_file(
    start_server: StartServer, sqlite_url: str, tmp_path: Path
) -> None:
    """A folder stands where the file was."""
    server = start_server(sqlite_url, USHER_DOOR="on")
    refused(server, "ada@mailinator.com")
    told(server, "ada@mailinator.com")
    for file in tmp_path.glob("usher.db*"):
        file.rename(tmp_path / f"moved-{file.name}")
    (tmp_path / "usher.db").mkdir()
    deadline = time.monotonic() + WAIT_SECONDS
    while ask(server, "ada@mailinator.com").data != FIXED:
        assert time.monotonic() < deadline
