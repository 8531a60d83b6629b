"""One POST of a webhook, to real receivers on loopback: whom it reaches, and how long it takes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from threading import Event

import pytest

from tests.receivers import (
    NAME,
    Certificates,
    Named,
    Receiver,
    listening,
    make_certificates,
    trusting,
)
from tests.support import free_port
from usher.core.domain.sink_urls import Target
from usher.core.errors import WebhookError
from usher.core.http import native
from usher.core.http.native import NativeHttp, look_up
from usher.core.outbox import addresses
from usher.core.outbox.addresses import addresses_of
from usher.core.outbox.webhook_http import Answer, post

LOOPBACK = (ip_network("127.0.0.0/8"),)


def send(
    port: int,
    *found: str,
    name: str = NAME,
    path: str = "/hook?a=1",
    secure: bool = True,
    seconds: float = 30,
    networks: Sequence[str] = ("127.0.0.0/8",),
) -> Answer:
    """Send a webhook to a name that has these addresses; 127.0.0.1 unless said otherwise."""
    return post(
        Named(found or ["127.0.0.1"]),
        Target(secure, name, port, path),
        {"webhook-id": "chg_1"},
        b'{"a":1}',
        networks=tuple(map(ip_network, networks)),
        seconds=seconds,
    )


def test_a_webhook_comes_over_tls_with_the_name_of_the_url(trusted: Certificates) -> None:
    """SNI, certificate and ``Host`` have the name; the connection goes to the checked address."""
    with Receiver(trusted) as receiver:
        receiver.answers = [(202, {"Retry-After": "7"})]
        assert send(receiver.port) == Answer(202, "7")
    assert receiver.name == NAME
    (came,) = receiver.came
    assert (came.path, came.body) == ("/hook?a=1", b'{"a":1}')
    assert came.headers["host"] == f"{NAME}:{receiver.port}"
    assert came.headers["webhook-id"] == "chg_1"


def test_the_certificate_of_an_address_is_checked_against_the_address(
    trusted: Certificates, tmp_path: Path
) -> None:
    """Where the URL has one."""
    with Receiver(trusted) as receiver:
        assert send(receiver.port, name="127.0.0.1").status == 204
    other = make_certificates(tmp_path)
    problem = "certificate is not good: IP address mismatch"
    with trusting(other), Receiver(other) as receiver, pytest.raises(WebhookError, match=problem):
        send(receiver.port, name="127.0.0.1")
    assert receiver.came == []


def test_a_certificate_of_another_name_is_refused(trusted: Certificates) -> None:
    """Before anything is sent."""
    problem = r"certificate is not good: .*other\.example"
    with Receiver(trusted) as receiver, pytest.raises(WebhookError, match=problem):
        send(receiver.port, name="other.example")
    assert receiver.came == []


def test_a_certificate_of_an_unknown_authority_is_refused(certificates: Certificates) -> None:
    """Before anything is sent."""
    problem = "certificate is not good"
    with Receiver(certificates) as receiver, pytest.raises(WebhookError, match=problem):
        send(receiver.port)
    assert receiver.came == []


def test_http_is_for_networks_of_ones_own(certificates: Certificates) -> None:
    """There it needs no certificate; a public address is refused."""
    with Receiver() as receiver:
        assert send(receiver.port, secure=False).status == 204
        with pytest.raises(WebhookError, match="not in USHER_SINK_NETWORKS, which http:// needs"):
            send(receiver.port, "1.1.1.1", secure=False)
    assert len(receiver.came) == 1
    problem = "the connection broke"
    with Receiver(certificates) as receiver, pytest.raises(WebhookError, match=problem):
        send(receiver.port, secure=False)


@pytest.mark.parametrize(
    "found",
    [
        ("127.0.0.1",), ("10.0.0.1",), ("169.254.169.254",), ("::1",), ("::ffff:127.0.0.1",),
        ("64:ff9b::7f00:1",), ("2002:7f00:1::",), ("fd00:ec2::254",), ("fe80::1%lo",),
        ("1.1.1.1", "127.0.0.1"), ("127.0.0.1", "1.1.1.1"), ("2606:4700::1111", "::1"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_ssrf_a_name_with_an_address_that_is_not_public_is_refused(
    found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where others of its addresses are public; nothing is connected to."""
    connected: list[object] = []
    monkeypatch.setattr(socket, "create_connection", lambda *a, **_: connected.append(a))
    with pytest.raises(WebhookError, match="not public") as caught:
        send(443, *found, networks=())
    assert connected == []
    assert not any(address in str(caught.value) for address in found)


def test_ssrf_dns_that_changes_between_check_and_connection_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name is asked for once an attempt; the connection goes to what was checked."""
    http = Named(["1.1.1.1"], ["127.0.0.1"], ["127.0.0.1"])
    connected: list[object] = []

    def connect(address: object, *_: object) -> socket.socket:
        connected.append(address)
        raise OSError

    monkeypatch.setattr(socket, "create_connection", connect)
    for problem in ("nobody answers", "not public"):
        with pytest.raises(WebhookError, match=problem):
            post(http, Target(True, NAME, 443, "/"), {}, b"{}", networks=(), seconds=30)
    assert connected == [("1.1.1.1", 443)]
    assert len(http.answers) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_ssrf_redirects_are_not_followed(trusted: Certificates, status: int) -> None:
    """To nowhere: neither to another host nor to the same."""
    with Receiver(trusted) as elsewhere, Receiver(trusted) as receiver:
        to = f"https://{NAME}:{elsewhere.port}/"
        receiver.answers = [(status, {"Location": to})]
        assert send(receiver.port).status == status
        assert elsewhere.came == []
        assert len(receiver.came) == 1


def test_an_address_that_does_not_answer_gives_way_to_the_next(trusted: Certificates) -> None:
    """Of a name that has several."""
    with Receiver(trusted) as receiver:  # it listens on 127.0.0.1 alone
        assert send(receiver.port, "127.0.0.9", "127.0.0.1").status == 204


def test_nobody_at_the_address_is_told_in_words() -> None:
    """Without the address."""
    with pytest.raises(WebhookError, match=r"^nobody answers at the address$"):
        send(free_port())


def trickle(head: bytes) -> Callable[[socket.socket, Event], None]:
    """Answer with ``head``, then with a byte now and then, for ever."""

    def work(line: socket.socket, over: Event) -> None:
        line.recv(1_000)
        line.sendall(head)
        while not over.wait(0.05):
            line.sendall(b"a")

    return work


@pytest.mark.parametrize(
    ("secure", "work"),
    [
        (False, lambda _, over: over.wait()),
        (False, trickle(b"")),
        (False, trickle(b"HTTP/1.1 100 Continue\r\n\r\n")),
        (False, trickle(b"HTTP/1.1 200 OK\r\nX: ")),
        (True, lambda _, over: over.wait()),
        (True, trickle(b"\x16\x03\x03\x40\x00")),
    ],
    ids=["silence", "status", "after a 100", "header", "silent handshake", "handshake"],
)
def test_a_receiver_that_takes_long_is_left_in_time(
    secure: bool, work: Callable[[socket.socket, Event], None]
) -> None:
    """However it does: a byte now and then is no answer."""
    late = pytest.raises(WebhookError, match=r"within 0\.4 seconds|in time")
    with listening(work) as port, late:
        send(port, secure=secure, seconds=0.4)


def test_the_body_of_an_answer_is_not_read() -> None:
    """One without an end holds nobody up, whatever its status."""
    body = trickle(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n")
    with listening(body) as port:
        assert send(port, secure=False) == Answer(200, "")


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"\r\n\r\n", b"hello", b"HTTP/1.1 twohundred OK\r\n\r\n", b"HTTP/1.1 99 \r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000, b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200,
        b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 1_000, b"HTTP/1.1 " + b"2" * 70_000,
    ],
    ids=range(10),
)  # fmt: skip
def test_an_answer_that_is_no_http_is_a_failure(answer: bytes) -> None:
    """Told by the name of the error alone, with nothing of the answer."""

    def work(line: socket.socket, _over: Event) -> None:
        line.recv(1_000)
        line.sendall(answer)

    problem = r"^the connection broke \(\w+\)$"
    with listening(work) as port, pytest.raises(WebhookError, match=problem):
        send(port, secure=False)


def test_a_name_server_that_takes_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a while, or than is left for the attempt; its answer comes too late."""
    over = Event()

    def slow(*_: object) -> list[str]:
        over.wait(60)
        return ["1.1.1.1"]

    monkeypatch.setattr(native, "look_up", slow)
    resolve = NativeHttp().resolve
    with pytest.raises(WebhookError, match="not found in time"):
        addresses_of(Target(True, NAME, 443, "/"), (), 0.05, resolve)
    monkeypatch.setattr(addresses, "LOOK_UP_SECONDS", 0.1)
    with pytest.raises(WebhookError, match="not found in time"):
        addresses_of(Target(True, NAME, 443, "/"), (), 30, resolve)
    over.set()


@pytest.mark.parametrize("found", [[], OSError(), UnicodeError(), ["no address"]])
def test_a_name_without_an_address_is_told(
    found: list[str] | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None, or an error of the resolver."""

    def look_up(_: str) -> list[str]:
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(native, "look_up", look_up)
    with pytest.raises(WebhookError, match="the name has no address"):
        addresses_of(Target(True, NAME, 443, "/"), (), 30, NativeHttp().resolve)


def test_names_are_looked_up_by_the_system() -> None:
    """Each address once; what is no name has none."""
    assert "127.0.0.1" in look_up("localhost") or "::1" in look_up("localhost")
    assert len(set(look_up("localhost"))) == len(look_up("localhost"))
    with pytest.raises(WebhookError, match="the name has no address"):
        addresses_of(Target(True, "a" * 64 + ".example", 443, "/"), (), 30, NativeHttp().resolve)
