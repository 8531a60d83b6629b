"""The sender: Identity's signature, and its attempts as docs/identity.md counts them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import socketserver
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from uuid import UUID

import pytest

from tests.stub import HANG, answering
from tests.support import SECRET, free_port
from usher.core.jws import verify_event
from usher.emulator import sender
from usher.emulator.payload import ZERO_INSTANCE
from usher.emulator.sender import MAX_ANSWER_BYTES, Attempt, Failure, send, signed_headers

BODY = b'{"event":"signup"}'
HEADERS = signed_headers("signup", BODY, ZERO_INSTANCE, 1_795_435_200, SECRET)


def _plain(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def test_the_headers_are_identitys() -> None:
    """JSON, the signature, and the unsigned name of the event."""
    assert list(HEADERS) == ["Content-Type", "X-Webhook-Signature", "X-Netlify-Event"]
    assert HEADERS["Content-Type"] == "application/json"
    assert HEADERS["X-Netlify-Event"] == "identity_signup"


def test_the_signature_is_jwt_gos_byte_for_byte() -> None:
    """Header and claims in the order of Go's structs, then HMAC-SHA-256 without padding."""
    header, payload, signature = HEADERS["X-Webhook-Signature"].split(".")
    assert _plain(header) == b'{"alg":"HS256","typ":"JWT"}'
    assert _plain(payload) == (
        b'{"iss":"gotrue","sub":"00000000-0000-0000-0000-000000000000","iat":1795435200,'
        b'"sha256":"' + hashlib.sha256(BODY).hexdigest().encode() + b'"}'
    )
    digest = hmac.digest(SECRET, f"{header}.{payload}".encode(), "sha256")
    assert _plain(signature) == digest


def test_our_own_verifier_takes_it() -> None:
    """The two halves of the contract meet."""
    headers = signed_headers("login", BODY, UUID(int=7), 1_000, SECRET)
    claims = verify_event([headers["X-Webhook-Signature"]], BODY, [SECRET], 1_000)
    assert (claims.instance_id, claims.issued_at) == (UUID(int=7), 1_000)


# answers of the receiver, statuses of the attempts made, accepted
RETRIES: list[tuple[tuple[int, ...], list[int], bool]] = [
    ((200,), [200], True),
    ((202,), [202], True),
    ((204,), [204], True),
    ((500, 500, 200), [500, 500, 200], True),
    ((503, 204), [503, 204], True),
    ((500, 500, 500), [500, 500, 500], False),
    ((403,), [403, 403, 403], False),
    ((401, 400, 422), [401, 400, 422], False),
    ((201,), [201, 201, 201], False),
    ((206, 203, 205), [206, 203, 205], False),
    ((301, 302, 304), [301, 302, 304], False),
    ((429, 200), [429, 200], True),
]


@pytest.mark.parametrize(("answers", "statuses", "accepted"), RETRIES)
def test_only_200_202_and_204_end_the_three_attempts(
    answers: tuple[int, ...], statuses: list[int], accepted: bool
) -> None:
    """Everything else, 201 and every 4xx included, is tried again, three times in all."""
    with answering(*answers) as stub:
        attempts = list(send(stub.url, BODY, HEADERS))
    assert [attempt.status for attempt in attempts] == statuses
    assert [attempt.number for attempt in attempts] == [1, 2, 3][: len(statuses)]
    assert attempts[-1].accepted is accepted
    assert not any(attempt.accepted for attempt in attempts[:-1])
    assert len(stub.requests) == len(statuses)


def test_all_attempts_carry_the_same_body_and_signature() -> None:
    """So a receiver can know a retry for what it is."""
    with answering(500) as stub:
        list(send(stub.url + "/hook", BODY, HEADERS))
    paths, headers, bodies = zip(*stub.requests, strict=True)
    assert paths == ("/hook",) * 3
    assert bodies == (BODY,) * 3
    assert [h["x-webhook-signature"] for h in headers] == [HEADERS["X-Webhook-Signature"]] * 3
    assert [h["x-netlify-event"] for h in headers] == ["identity_signup"] * 3


@pytest.mark.parametrize(
    ("status", "method", "body"),
    [(301, "GET", b""), (302, "GET", b""), (303, "GET", b""), (307, "POST", BODY),
     (308, "POST", BODY)],
)  # fmt: skip
def test_a_redirect_is_followed_as_gos_client_does(status: int, method: str, body: bytes) -> None:
    """The older three lose the body: the hook behind them gets a GET that says nothing."""
    with answering((status, {"Location": "/elsewhere"}, b""), 204) as stub:
        (attempt,) = send(stub.url, BODY, HEADERS)
    assert attempt.accepted
    assert [path for path, _, _ in stub.requests] == ["/", "/elsewhere"]
    assert stub.methods == ["POST", method]
    assert stub.requests[1][2] == body
    assert stub.requests[1][1]["x-webhook-signature"] == HEADERS["X-Webhook-Signature"]


def test_ten_redirects_are_the_most() -> None:
    """Then the attempt has failed, and is not made again."""
    with answering((307, {"Location": "/again"}, b"")) as stub:
        (attempt,) = send(stub.url, BODY, HEADERS)
    assert (attempt.failure, len(stub.requests)) == (Failure.BROKEN, 10)


def test_a_redirect_to_nowhere_is_an_answer() -> None:
    """Like any other that is no success."""
    with answering(302) as stub:
        attempts = list(send(stub.url, BODY, HEADERS))
    assert [attempt.status for attempt in attempts] == [302, 302, 302]


def test_the_answer_is_kept() -> None:
    """Status, body and type of each attempt, and how long it took."""
    with answering((200, {"Content-Type": "application/json"}, b'{"a":1}')) as stub:
        (attempt,) = send(stub.url, BODY, HEADERS)
    assert (attempt.body, attempt.content_type) == (b'{"a":1}', "application/json")
    assert attempt.error == ""
    assert attempt.duration_ms > 0


def test_a_time_out_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five seconds each at Identity; shorter here."""
    assert (sender.ATTEMPTS, sender.TIMEOUT_SECONDS) == (3, 5.0)
    monkeypatch.setattr(sender, "TIMEOUT_SECONDS", 0.5)
    with answering(HANG, HANG, 204) as stub:
        attempts = list(send(stub.url, BODY, HEADERS))
    assert [attempt.status for attempt in attempts] == [0, 0, 204]
    assert attempts[0].error.startswith("no answer within")
    assert attempts[-1].accepted
    assert len(stub.requests) == 3


def test_three_time_outs_are_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no fourth attempt."""
    monkeypatch.setattr(sender, "TIMEOUT_SECONDS", 0.1)
    with answering(HANG) as stub:
        attempts = list(send(stub.url, BODY, HEADERS))
    assert [bool(attempt.error) for attempt in attempts] == [True] * 3
    assert len(stub.requests) == 3


def test_a_refused_connection_is_not_tried_again() -> None:
    """A receiver that is restarting loses the event: docs/identity.md."""
    url = f"http://127.0.0.1:{free_port()}/hook"
    (attempt,) = send(url, BODY, HEADERS)
    assert not attempt.accepted
    assert attempt.error == f"nothing answers at {url}; is the server running (make run)?"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http://", "http://[::1", "http://h:99999/"])
def test_an_address_that_is_none_is_an_attempt_that_failed(url: str) -> None:
    """Never an exception."""
    (attempt,) = send(url, BODY, HEADERS)
    assert attempt.error.startswith("the connection failed: ")


def test_nothing_counts_as_accepted_without_an_answer() -> None:
    """An attempt with an error has no status."""
    assert not Attempt(1, error="x").accepted


@contextmanager
def raw(answer: bytes, *, pause: float = 0.0) -> Iterator[tuple[str, list[int]]]:
    """A server that sends these bytes, one after a pause each if told so, and hangs up."""
    connections: list[int] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            connections.append(1)
            self.request.recv(65_536)
            pieces = [bytes([byte]) for byte in answer] if pause else [answer]
            try:
                for piece in pieces:
                    self.request.sendall(piece)
                    time.sleep(pause)
            except OSError:  # the sender has given up, which is what the test is about
                return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/", connections
        server.shutdown()
        thread.join()


def test_a_connection_that_breaks_is_not_tried_again() -> None:
    """Only time-outs and answers are."""
    with raw(b"") as (url, connections):
        (attempt,) = send(url, BODY, HEADERS)
    assert (attempt.failure, len(connections)) == (Failure.BROKEN, 1)


def test_an_answer_that_trickles_is_a_time_out() -> None:
    """The limit is for the whole answer, not for each byte of it."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n" + b"x" * 400
    with raw(answer, pause=0.01) as (url, connections):
        attempts = list(send(url, BODY, HEADERS, timeout_seconds=0.6))
    assert [attempt.failure for attempt in attempts] == [Failure.TIME_OUT] * 3
    assert len(connections) == 3


def test_an_answer_without_end_is_not_kept() -> None:
    """A megabyte is enough for metadata."""
    body = b"x" * (MAX_ANSWER_BYTES + 70_000)
    with answering((200, {"Content-Length": str(len(body))}, body)) as stub:
        (attempt,) = send(stub.url, BODY, HEADERS)
    assert (attempt.failure, attempt.body) == (Failure.BROKEN, b"")


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 2\r\n\r\n{}", b"Connection: close\r\n\r\n{}",
     b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
     b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}")],
    ids=["announced", "to the end", "chunked", "gzip"],
)  # fmt: skip
def test_a_body_is_read_however_it_is_sent(head: bytes) -> None:
    """Since April 2023; before, only one of an announced length was."""
    with raw(b"HTTP/1.1 200 OK\r\n" + head) as (url, _):
        (attempt,) = send(url, BODY, HEADERS)
    assert (attempt.status, attempt.body) == (200, b"{}")


def test_a_body_that_is_no_gzip_breaks_the_attempt() -> None:
    """It is not made again."""
    with raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n{}") as (url, _):
        (attempt,) = send(url, BODY, HEADERS)
    assert attempt.failure is Failure.BROKEN
