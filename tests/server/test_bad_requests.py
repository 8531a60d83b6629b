"""Requests that no function takes: wrong path, method, type or length, sent to a real server."""

from __future__ import annotations

import pytest

from tests.door import GENERIC_401, JSON, Door, check_headers, now
from tests.forge import good
from tests.support import account
from usher.emulator.payload import event_body

MAX_BODY = 262_144


def signup() -> bytes:
    """The body of a signup of somebody new."""
    return event_body("signup", account())


# --- the request itself: 404, 405, 413, 415 ------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_another_method_is_405(door: Door, method: str) -> None:
    """However well signed; ``Allow`` says what would do."""
    body = signup()
    before = door.count("deliveries")
    lines = (*JSON, f"X-Webhook-Signature: {good(body, now())}")
    answer = door.send(body, *lines, method=method)
    assert (answer.status, answer.header("Allow")) == (405, ["POST"])
    assert answer.body == b"" if method == "HEAD" else answer.code == "method_not_allowed"
    assert door.count("deliveries") == before


@pytest.mark.parametrize(
    "line",
    [
        b"Accept: application/json",
        b"Content-Type:",
        b"Content-Type: text/plain",
        b"Content-Type: text/json",
        b"Content-Type: application/jsonp",
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Type: application/json, text/plain",
        b"Content-Type: \xff",
        b"Content-Type: application/json\r\nContent-Type: text/plain",
        b"Content-Type: application/json\r\nContent-Type: application/json",
    ],
    ids=repr,
)
def test_another_content_type_is_415(door: Door, line: bytes) -> None:
    """Missing, empty, wrong, or several."""
    body = signup()
    answer = door.send(body, line, f"X-Webhook-Signature: {good(body, now())}")
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert door.ledger(body) == []


@pytest.mark.parametrize(
    "value", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/json ;x=1"]
)
def test_json_may_be_spelled_and_parametrised(door: Door, value: str) -> None:
    """Media types have no letter case, and may have parameters (RFC 9110, 8.3.1)."""
    body = event_body("validate", account())
    answer = door.send(body, f"Content-Type: {value}", f"X-Webhook-Signature: {good(body, now())}")
    assert answer.status == 204


@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/%ff",
        "//healthz",
        "/healthz/%2e%2e",
        "/.netlify/functions/",
        "/.netlify/functions/nothing",
        "/.netlify/functions/identity/",
        "/.netlify/functions/../identity",
    ],
)
def test_an_unknown_path_is_404(door: Door, path: str) -> None:
    """A problem like every other."""
    answer = door.send(b"", method="GET", path=path)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("length", [MAX_BODY + 1, 10**12, 2**63], ids=str)
def test_an_announced_body_over_the_cap_is_413(door: Door, length: int) -> None:
    """It is not waited for: nothing of it was sent."""
    answer = door.send(b"", *JSON, length=length)
    assert (answer.status, answer.code) == (413, "body_too_large")


def chunked(signature: str) -> bytes:
    """The head of a chunked request."""
    return (
        "POST /.netlify/functions/identity HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        f"X-Webhook-Signature: {signature}\r\n\r\n"
    ).encode()


def test_a_chunked_body_over_the_cap_is_413(door: Door) -> None:
    """It is not read to its end, which never comes."""
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer = door.exchange(chunked("x") + piece * 4 + b"10000\r\n ")
    check_headers(answer)
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_a_body_as_large_as_the_cap_is_read(door: Door) -> None:
    """The cap is included, and such a body is an event like any other."""
    empty = event_body("signup", account(user_metadata={"a": ""}))
    body = empty.replace(b'"a":""', b'"a":"%s"' % (b"x" * (MAX_BODY - len(empty))))
    assert len(body) == MAX_BODY
    assert door.deliver(body).status == 204
    assert door.ledger(body)[0][1] == "applied"


def test_a_good_chunked_body_is_accepted(door: Door) -> None:
    """How a body travels is no part of it."""
    body = event_body("validate", account())
    pieces = [body[i : i + 50] for i in range(0, len(body), 50)]
    parts = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    answer = door.exchange(chunked(good(body, now())) + parts + b"0\r\n\r\n")
    check_headers(answer)
    assert answer.status == 204
    assert door.ledger(body) == [("validate", "applied", 204, body)]


WHOLE = b"%x\r\n%s\r\n"
BROKEN_CHUNKS = {
    "no last chunk": WHOLE,
    "no empty line after the last chunk": WHOLE + b"0\r\n",
    "a size that is no number": WHOLE + b"zz\r\n\r\n",
    "a size below zero": WHOLE + b"-1\r\n\r\n",
    "a size beyond every number": WHOLE + b"f" * 17 + b"\r\n",
    "more than the size says": b"%x\r\n%s0\r\n\r\n",
    "other lines' ends": b"%x\n%s\n0\n\n",
    "a trailer field": WHOLE + b"0\r\nX-More: 1\r\n\r\n",
    "a trailer that is no field": WHOLE + b"0\r\nnothing\r\n\r\n",
    "an endless extension": b"%x;" + b"a" * 20_000 + b"\r\n%s\r\n0\r\n\r\n",
    "nothing at all": b"",
}


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
def test_a_body_whose_chunks_are_broken_is_400(door: Door, name: str) -> None:
    """What came before may be all of it, and well signed: nobody can know. Nothing is applied."""
    body = event_body("validate", account())
    sent = BROKEN_CHUNKS[name]
    sent = sent % (len(body), body) if sent else sent
    ends = name.startswith(("no ", "nothing"))  # the others are broken while the client stays
    answer = door.exchange(chunked(good(body, now())) + sent, half_close=ends)
    check_headers(answer)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert door.ledger(body) == []


# --- lies about the length -----------------------------------------------------------------------


def test_a_body_longer_than_announced_is_cut_and_so_refused(door: Door) -> None:
    """The rest belongs to no request; the signature is about the whole."""
    body = signup()
    line = f"X-Webhook-Signature: {good(body, now())}"
    answer = door.send(body, *JSON, line, length=len(body) - 5)
    assert (answer.status, answer.body) == (401, GENERIC_401)
    assert door.ledger(body) == []


def test_a_body_shorter_than_announced_is_400(door: Door) -> None:
    """A client that ends before its body does is told so, however good the signature."""
    body = signup()
    line = f"X-Webhook-Signature: {good(body, now())}"
    answer = door.send(body, *JSON, line, length=len(body) + 5, half_close=True)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert door.ledger(body) == []


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Content-Length: -1",
        b"Content-Length: 1" + b"0" * 30,
        b"Content-Length: 2x",
        b"Content-Length: 2, 3",
        b"Transfer-Encoding: gzip",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    ],
    ids=repr,
)
def test_a_request_without_one_clear_length_is_400(door: Door, lines: bytes) -> None:
    """The server below us refuses it before we see it: request smuggling ends here."""
    head = b"POST /.netlify/functions/identity HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    answer = door.exchange(head + lines + b"\r\n\r\n{}", half_close=True)
    assert answer.status in {400, 501}


@pytest.mark.parametrize(
    "hosts",
    [[], ["Host: a", "Host: b"], ["Host: a", "Host: a"], ["Host: a b"], ["Host: a/b"]],
    ids=repr,
)
@pytest.mark.parametrize("path", ["/healthz", "/api/me", "/", "/.netlify/functions/identity"])
def test_h4_a_request_without_one_host_is_400(door: Door, hosts: list[str], path: str) -> None:
    """RFC 9112, 3.2: two programs could take it for different sites' requests."""
    head = "\r\n".join([f"GET {path} HTTP/1.1", *hosts, "Connection: close", "", ""])
    answer = door.exchange(head.encode(), method="GET")
    check_headers(answer)
    assert (answer.status, answer.code) == (400, "bad_request")


def test_h4_http_1_0_may_leave_it_out(door: Door) -> None:
    """Probes of older load balancers do."""
    assert door.exchange(b"GET /healthz HTTP/1.0\r\n\r\n", method="GET").status == 200


@pytest.mark.parametrize("path", ["/api%2fme", "/%61pi/me", "/api/m%65", "/api%2Fme"])
def test_h4_a_path_is_what_it_is_decoded(door: Door, path: str) -> None:
    """The server below us gives nothing else, so each check is made of the decoded path."""
    answer = door.send(path=path, method="GET")
    assert (answer.status, answer.code) == (401, door.send(path="/api/me", method="GET").code)
    assert door.send(path=path.replace("%", "%25"), method="GET").status == 404
