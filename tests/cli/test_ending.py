"""How ``usher serve`` and ``usher dev`` end: at once, but for requests under way."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.dev_process import GUIDED, WAIT_SECONDS, Dev
from tests.support import SECRET, Server

HOOK = (
    b"POST /.netlify/functions/identity HTTP/1.1\r\n"
    b"Host: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
)


def half_a_request(port: int) -> socket.socket:
    """A request whose body the server is reading: it has asked for it."""
    speaking = socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)
    speaking.sendall(HOOK)
    assert speaking.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return speaking


@pytest.fixture
def serve(start_server: Callable[..., Server], sqlite_url: str) -> Server:
    """``usher serve``."""
    return start_server(sqlite_url, USHER_WEBHOOK_SECRETS=SECRET.decode())


@pytest.mark.parametrize(
    ("kind", "how"),
    [("serve", signal.SIGTERM), ("serve", signal.SIGINT), ("dev", signal.SIGINT)],
)
def test_a_request_under_way_is_answered_and_idle_connections_hold_up_nothing(
    request: pytest.FixtureRequest, kind: str, how: signal.Signals
) -> None:
    """Nobody new is let in; who only waits is let go; who is speaking is heard out."""
    running: Dev | Server = request.getfixturevalue(kind)
    address = ("127.0.0.1", running.port)
    with (
        closing(socket.create_connection(address, WAIT_SECONDS)) as idle,
        closing(half_a_request(running.port)) as speaking,
    ):
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200")
        running.process.send_signal(how)
        assert idle.recv(65536) == b""
        speaking.sendall(b"{}")
        assert speaking.recv(65536).startswith(b"HTTP/1.1 401")
    assert running.process.wait(WAIT_SECONDS) == 0
    with socket.create_server(address):
        pass


def test_a_second_ctrl_c_ends_dev_at_once(dev: Dev) -> None:
    """Somebody who never finishes their request is not waited for."""
    with closing(half_a_request(dev.port)):
        dev.process.send_signal(signal.SIGINT)
        dev.says("Still finishing what is under way")
        assert dev.stop(signal.SIGINT) == 0
    assert "Traceback" not in dev.log.read_text()


def test_fresh_forgets_everybody(folder: Path) -> None:
    """With a real server before and after: the mails, the accounts, the secrets."""
    dev = Dev(folder, "--seed", "2")
    dev.says(GUIDED)
    secrets = (folder / ".usher" / "dev.env").read_text()
    assert "owner@example.com" in dev.get("/_dev/mail")
    assert dev.stop() == 0
    again = Dev(folder, "--fresh", "--seed", "1")
    try:
        again.says("Signed up in")
        again.says(": 1 active.")
        again.says(GUIDED)
        assert again.get("/_dev/mail").count('"to":"owner@example.com"') == 1
        assert (folder / ".usher" / "dev.env").read_text() != secrets
    finally:
        again.stop()
