"""Large bodies at a real server: events whose signature is good, and everybody else's."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from tests.door import JSON, Door, check_headers, now
from tests.forge import good
from tests.pipeline.test_metadata import body_of
from tests.support import Server
from usher.core.bounds import MAX_EVENT_BYTES

MIB = 1024 * 1024


def large(event: str, size: int, user_id: object = None) -> bytes:
    """An event of about this size, most of it the person's own words."""
    filling = b'{"a":[%s1],"x":"%s"}' % (b'{"\\u0000":[]},' * 1_000, b"<" * size)
    return body_of(event, user_id or uuid4(), filling)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [300_000, 5 * MIB, 15 * MIB])
def test_a2_a_large_event_is_taken_without_its_bytes(door: Door, size: int) -> None:
    """Alike with an announced length; a retry gets the same answer."""
    body, second = large("login", size), now()
    assert door.deliver(body, at=second).status in (200, 204)
    assert door.deliver(body, at=second).status in (200, 204)
    ((event, outcome, _, kept),) = door.ledger(body)
    assert (event, outcome, kept) == ("login", "applied", None)


def test_a2_a_large_deletion_in_chunks_leaves_a_tombstone(door: Door) -> None:
    """Nobody knows beforehand how long it is."""
    user_id = uuid4()
    assert door.deliver(body_of("login", user_id)).status == 204
    body = large("userdeleted", 300_000, user_id)
    head = (
        "POST /.netlify/functions/identity HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        f"X-Webhook-Signature: {good(body, now())}\r\n\r\n"
    )
    pieces = [body[at : at + 50_000] for at in range(0, len(body), 50_000)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    answer = door.exchange(head.encode() + chunks + b"0\r\n\r\n")
    check_headers(answer)
    assert answer.status == 204
    assert door.rows("SELECT status FROM users WHERE id = ?", user_id.hex) == [("deleted",)]


def test_a2_a_large_body_without_a_good_signature_is_not_read(door: Door) -> None:
    """413 as ever, logged; the answer comes before the body does."""
    door.log()
    for signature in ("", "x.y.z", good(b"x", now() - 400)):
        answer = door.send(b"", *JSON, f"X-Webhook-Signature: {signature}", length=300_000)
        assert (answer.status, answer.code) == (413, "body_too_large")
    assert [line["event"] for line in door.log()] == ["request.too_large"] * 3


def test_a2_a_large_body_of_another_digest_is_401(door: Door) -> None:
    """The claims are checked before it is read, the digest afterwards."""
    body = large("login", 300_000)
    answer = door.send(body, *JSON, f"X-Webhook-Signature: {good(body + b'x', now())}")
    assert (answer.status, answer.code) == (401, "signature_invalid")
    assert door.ledger(body) == []


def test_a2_more_than_16_mib_is_413_whoever_signed_it(door: Door) -> None:
    """Logged as well."""
    door.log()
    line = f"X-Webhook-Signature: {good(b'x', now())}"
    answer = door.send(b"", *JSON, line, length=MAX_EVENT_BYTES + 1)
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert [line["limit_bytes"] for line in door.log()] == [MAX_EVENT_BYTES]


@pytest.mark.parametrize("told", ["identity-usermodified", "identity-userdeleted", "header"])
def test_a_persons_own_large_logins_keep_no_administrators_act_out(door: Door, told: str) -> None:
    """Identity sends such an event once; logins come as often as the person likes."""
    event = "userdeleted" if told == "identity-userdeleted" else "usermodified"
    body = large(event, 15 * MIB)
    signature = f"X-Webhook-Signature: {good(b'x', now())}"
    head = (
        "POST /.netlify/functions/identity HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/json\r\n{signature}\r\n"
        f"Content-Length: {15 * MIB}\r\n\r\n{{"
    )
    with ExitStack() as held:
        for _ in range(4):  # as many as find room, and others that wait for it
            address = ("127.0.0.1", door.server.port)
            login = held.enter_context(socket.create_connection(address, timeout=5))
            login.sendall(head.encode())
        named = (f"X-Netlify-Event: identity_{event}",) if told == "header" else ()
        path = f"/.netlify/functions/{'identity' if told == 'header' else told}"
        good_one = f"X-Webhook-Signature: {good(body, now())}"
        assert door.send(body, *JSON, good_one, *named, path=path).status == 204
        middling = large("login", 100_000)
        assert door.deliver(middling).status in (200, 204)
    assert [outcome for _, outcome, _, _ in door.ledger(body)] == ["applied"]


def peak_mib(server: Server) -> int:
    """The most memory that any process of the server has had."""
    most = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):
            continue
        if int(fields.get("NSpgid", fields.get("Pid", "0")).split()[-1]) == server.process.pid:
            most = max(most, int(fields.get("VmHWM", "0 kB").split()[0]) // 1024)
    return most


@pytest.mark.slow
def test_a2_64_large_events_at_once_neither_fill_the_memory_nor_hold_up_anybody(
    start_server: Callable[..., Server], sqlite_url: str
) -> None:
    """Under 400 MiB, and /healthz is answered; whoever finds no room is told to come again.

    How soon it is answered depends on the machine: ``bench/large.py`` measures that.
    """
    server = start_server(sqlite_url)
    door = Door(server, Path(sqlite_url.removeprefix("sqlite:///")))
    body, second = large("login", 15 * MIB), now()
    statuses: list[int] = []

    def one() -> None:
        try:
            statuses.append(door.deliver(body, at=second).status)
        except OSError:  # refused before it was sent whole
            statuses.append(503)

    threads = [threading.Thread(target=one) for _ in range(64)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert server.pool.request("GET", f"{server.url}/healthz").status == 200
        time.sleep(0.02)
    assert set(statuses) <= {200, 204, 503, 408}
    assert {200, 204} & set(statuses)
    assert 0 < peak_mib(server) < 400
