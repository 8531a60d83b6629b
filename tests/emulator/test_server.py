"""The adapter to HTTP: bodies, keep-alive, what it refuses."""

from __future__ import annotations

import base64
import socket

import pytest
import urllib3

from tests.emulator.world import World
from usher.emulator.server import MAX_BODY_BYTES, serving
from usher.functions._shared.http import Request, Response


def echo(request: Request) -> Response:
    """Answer what was asked."""
    body = base64.b64encode(request.body).decode()
    shown = f"é {request.method} {request.path} {request.query} {body}"
    return Response(200, shown, headers={"X-Twice": ",".join(request.headers.get("twice", ()))})


def raw(url: str, request: bytes) -> bytes:
    """Everything that comes back for these bytes."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), 10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def test_a_request_is_handed_on_and_its_answer_written() -> None:
    """Path and query apart, every header value, the exact bytes of the body."""
    with serving(echo) as url, urllib3.PoolManager(retries=False) as pool:
        headers = urllib3.HTTPHeaderDict([("Twice", "a"), ("Twice", "b")])
        answer = pool.request("PUT", f"{url}/a%20b?x=1&y", body=b"\xff", headers=headers)
        assert (answer.status, answer.data.decode()) == (200, "é PUT /a%20b x=1&y /w==")
        assert answer.headers["X-Twice"] == "a,b"
        head = pool.request("HEAD", url)
        assert (head.status, head.data, int(head.headers["Content-Length"]) > 0) == (200, b"", True)


def test_several_requests_share_a_connection() -> None:
    """Also after an answer without a body."""
    request = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\nPOST /two HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(echo) as url:
        found = raw(url, request)
    assert found.count(b"HTTP/1.1 200") == 2


REFUSED = [
    (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n", b"411"),
    (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"411"),
    (
        f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode(),
        b"413",
    ),
    (b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", b"501"),
]


@pytest.mark.parametrize(("request_bytes", "status"), REFUSED)
def test_what_it_cannot_read_ends_the_connection(request_bytes: bytes, status: bytes) -> None:
    """The rest on it is not taken for another request."""
    with serving(echo) as url:
        assert raw(url, request_bytes + b"GET /x HTTP/1.1\r\n\r\n").startswith(
            b"HTTP/1.1 " + status
        )


def test_the_emulator_behind_it(quiet: World) -> None:
    """204 has no length and no body."""
    quiet.member()
    with serving(quiet.emulator.handle) as url, urllib3.PoolManager(retries=False) as pool:
        headers = {"Authorization": f"Bearer {quiet.token()}"}
        answer = pool.request("POST", f"{url}/.netlify/identity/logout", headers=headers)
        assert (answer.status, answer.data) == (204, b"")
        assert "Content-Length" not in answer.headers
