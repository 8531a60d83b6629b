"""HTTP to others: one table for the sockets of a process and for the JavaScript inside Netlify."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from socket import socket
from threading import Event
from typing import Any

import pytest

from tests.netlify.wires import Wires, wires
from tests.receivers import NAME, Certificates, Receiver, listening, trusting
from tests.stub import answering
from tests.support import free_port
from usher.core import app
from usher.core.app import App
from usher.core.domain.sink_urls import Target
from usher.core.errors import IdentityCredentialsError
from usher.core.http.interface import Answer, AnswerCutError, Failure, Http, HttpError, Limits
from usher.core.http.native import NativeHttp
from usher.core.settings import Settings
from usher.netlify.http import WiresHttp

LIMITS = Limits(
    connect_seconds=20, read_seconds=20, body_seconds=20, body_bytes=10_000, start_bytes=4
)
LOOPBACK = ip_address("127.0.0.1")


def over(wires: Wires) -> WiresHttp:
    """HTTP by the JavaScript of the functions, as ``usher.netlify.wires.ask`` gives its orders."""

    def ask(do: str, **order: Any) -> dict[str, Any]:
        body = order.pop("body", None)
        told = wires.ask(do, **order, **({} if body is None else {"bytes": body}))
        if "error" in told:
            raise OSError(told["error"])
        return {"bytes": None, **told}

    return WiresHttp(ask)


@pytest.fixture(scope="module", params=["native", "wires"])
def http(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[Http]:
    """HTTP that trusts our authority, and is told of a proxy where there is none."""
    proxy = f"http://127.0.0.1:{free_port()}"
    proxies = dict.fromkeys(("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"), proxy)
    with trusting(certificates), pytest.MonkeyPatch.context() as patch:
        for name in proxies:
            patch.setenv(name, proxy)
        if request.param == "native":
            yield NativeHttp()
            return
        trust = {"NODE_EXTRA_CA_CERTS": str(certificates.authority), "NODE_USE_ENV_PROXY": "1"}
        with wires(**proxies, **trust) as found:
            yield over(found)


def get(http: Http, url: str, limits: Limits = LIMITS) -> Answer:
    """A GET."""
    return http.request("GET", url, {}, None, limits)


def post(
    http: Http, port: int, *, name: str = NAME, secure: bool = True, seconds: float = 20
) -> Answer:
    """A POST to a checked address."""
    target = Target(secure, name, port, "/a/../hook?a=1")
    headers = {"webhook-id": "chg_1", "Connection": "close"}
    return http.post(target, LOOPBACK, headers, b"{}", connect_seconds=20, seconds=seconds)


@contextmanager
def failing(*failures: Failure) -> Iterator[None]:
    """The request within fails so, and the error names no address."""
    with pytest.raises(HttpError) as caught:
        yield
    assert caught.value.failure in failures
    assert "127.0.0.1" not in str(caught.value)


def test_a_request_arrives_as_it_was_sent(http: Http) -> None:
    """Path, query, headers and bytes; so does the answer, of any status."""
    body = '{"ö": 1}\r\n\0'.encode()
    with answering((201, {"X-One": "1", "Content-Length": "3"}, b"\xff\0\n")) as stub:
        answer = http.request("PUT", f"{stub.url}/a/b%2Fc?d=e%20f", {"X-A": "b"}, body, LIMITS)
        assert (answer.status, answer.headers["x-one"], answer.body) == (201, "1", b"\xff\0\n")
        for method, status in (("GET", 201), ("DELETE", 201)):
            assert http.request(method, stub.url, {}, None, LIMITS).status == status
    path, headers, received = stub.requests[0]
    assert (path, headers["x-a"], received) == ("/a/b%2Fc?d=e%20f", "b", body)
    assert headers["host"] == stub.url.removeprefix("http://")
    assert headers["accept-encoding"] == "identity"
    assert stub.methods == ["PUT", "GET", "DELETE"]
    assert [each[2] for each in stub.requests[1:]] == [b"", b""]


def test_of_a_header_that_comes_twice_the_last_one_counts(http: Http) -> None:
    """As for any reader of a mapping."""
    with listening(
        saying(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n")
    ) as port:
        assert get(http, f"http://127.0.0.1:{port}").headers["x-a"] == "2"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_an_answer(http: Http, status: int) -> None:
    """So no token travels on."""
    with answering((status, {"Location": "/elsewhere", "Content-Length": "0"}, b"")) as stub:
        assert get(http, stub.url).status == status
    assert len(stub.requests) == 1


def test_a_body_is_read_up_to_its_limit(http: Http) -> None:
    """One byte more, and only the start is kept."""
    limits = Limits(20, 20, 20, body_bytes=9, start_bytes=4)
    with answering((200, {}, b"123456789"), (200, {}, b"123456789X" * 10_000)) as stub:
        assert get(http, stub.url, limits).body == b"123456789"
        with pytest.raises(AnswerCutError) as caught:
            get(http, stub.url, limits)
    assert (caught.value.start, caught.value.late) == (b"1234", False)
    assert caught.value.received > 9


def test_a_packed_body_counts_as_it_is_unpacked(http: Http) -> None:
    """Nobody asks for one. A bomb goes no further than the limit."""
    headers = {"Content-Encoding": "gzip"}
    bomb, torn = gzip.compress(b"x" * 1_000_000), gzip.compress(b"abc" * 99)[:-12]
    packed = [(200, headers, each) for each in (gzip.compress(b"abc"), bomb, b"no gzip")]
    with answering(*packed, (200, headers, torn)) as stub:
        assert get(http, stub.url).body == b"abc"
        with pytest.raises(AnswerCutError) as caught:
            get(http, stub.url)
        assert (caught.value.start, caught.value.late) == (b"xxxx", False)
        with failing(Failure.BROKEN):
            get(http, stub.url)
        assert b"abc" * 9 not in get(http, stub.url).body  # its reader finds no JSON object


def test_an_answer_that_comes_too_slowly_is_cut(http: Http) -> None:
    """A byte now and then is no end."""

    def work(line: socket, over: Event) -> None:
        line.recv(1_000)
        line.sendall(b"HTTP/1.1 200 OK\r\n\r\n123456")
        while not over.wait(0.05):
            line.sendall(b".")

    with listening(work) as port, pytest.raises(AnswerCutError) as caught:
        get(http, f"http://127.0.0.1:{port}", Limits(20, 20, 0.2, 10_000, 4))
    assert (caught.value.start, caught.value.late) == (b"1234", True)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123"])
def test_silence_is_not_waited_for(http: Http, said: bytes) -> None:
    """Before the answer, or within it."""

    def work(line: socket, over: Event) -> None:
        line.recv(1_000)
        line.sendall(said)
        over.wait(60)

    with listening(work) as port, failing(Failure.TIME):
        get(http, f"http://127.0.0.1:{port}", Limits(20, 0.2, 20, 10_000, 4))


@pytest.mark.parametrize(
    "said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123"]
)
def test_an_answer_that_breaks_off_is_none(http: Http, said: bytes) -> None:
    """However much of it came."""
    with listening(saying(said)) as port, failing(Failure.BROKEN):
        get(http, f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-name.invalid"])
def test_nobody_there_is_told_as_such(http: Http, host: str) -> None:
    """Nothing was sent."""
    with failing(Failure.CONNECT):
        get(http, f"http://{host}:{free_port()}")


def test_a_certificate_is_verified_before_a_token_is_sent(
    http: Http, certificates: Certificates
) -> None:
    """By our authority, for another name than the URL's."""
    with Receiver(certificates) as receiver, failing(Failure.CERTIFICATE):
        get(http, f"https://localhost:{receiver.port}")
    assert receiver.came == []


def test_a_webhook_goes_to_the_checked_address_with_the_name_of_its_url(
    http: Http, certificates: Certificates
) -> None:
    """SNI, certificate and ``Host`` have the name, which nobody looks up."""
    with Receiver(certificates) as receiver:
        receiver.answers = [(202, {"Retry-After": "7"})]
        answer = post(http, receiver.port)
        assert (answer.status, answer.headers["retry-after"]) == (202, "7")
        with failing(Failure.CERTIFICATE):
            post(http, receiver.port, name="other.example")
    assert receiver.name == "other.example"
    (came,) = receiver.came
    assert (came.path, came.body) == ("/a/../hook?a=1", b"{}")
    assert came.headers["host"] == f"{NAME}:{receiver.port}"
    assert came.headers["webhook-id"] == "chg_1"


def test_the_body_of_an_answer_to_a_webhook_is_not_waited_for(http: Http) -> None:
    """Its headers say all; a redirect is one of them."""

    def work(line: socket, over: Event) -> None:
        line.recv(1_000)
        line.sendall(b"HTTP/1.1 307 Elsewhere\r\nLocation: /\r\nContent-Length: 5\r\n\r\n")
        over.wait(60)

    with listening(work) as port:
        assert post(http, port, secure=False).status == 307


@pytest.mark.parametrize("secure", [False, True])
def test_a_webhook_has_one_time_for_all(http: Http, secure: bool) -> None:
    """For the handshake as well, and however often a byte comes."""

    def work(line: socket, over: Event) -> None:
        line.recv(1_000)
        while not over.wait(0.05):
            line.sendall(b"\x16\x03\x03\x40\x00" if secure else b"HTTP/1.1 100 Continue\r\n\r\n")

    # An OpenSSL that takes the bytes for broken TLS says so.
    failures = (Failure.TIME, Failure.BROKEN) if secure else (Failure.TIME,)
    with listening(work) as port, failing(*failures):
        post(http, port, secure=secure, seconds=0.5)


def test_a_webhook_that_breaks_is_told_from_one_that_was_never_sent(http: Http) -> None:
    """Only the latter may go to another address."""
    with failing(Failure.CONNECT):
        post(http, free_port(), secure=False)
    for secure in (False, True):
        with listening(saying(b"nonsense\r\n\r\n")) as port, failing(Failure.BROKEN):
            post(http, port, secure=secure)


def test_the_app_sends_by_what_its_runtime_gives_it(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its maker alone knows; sockets are what it has otherwise."""
    asked: list[dict[str, Any]] = []

    def ask(**order: Any) -> dict[str, Any]:
        asked.append(order)
        return {"status": 401, "headers": [], "bytes": b"{}"}

    wires = WiresHttp(ask)
    url = "https://identity.example"
    for made in (
        App(make_settings(identity_url=url, identity_admin_token="x"), http=wires),
        App(make_settings(identity_url=url, use_platform_token=True), http=wires),
    ):
        made.platform.renew(url, "the-token")
        with pytest.raises(IdentityCredentialsError):
            made.identity.probe()  # type: ignore[union-attr]
    tokens = [order["headers"]["Authorization"] for order in asked]
    assert tokens == ["Bearer x", "Bearer the-token"]
    assert isinstance(App(make_settings()).http, NativeHttp)
    monkeypatch.setattr(app, "_current", None)
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", "s" * 32)
    assert app.current(http=wires).http is wires
    monkeypatch.setattr(app, "_current", None)


def test_names_are_looked_up(http: Http) -> None:
    """Each address once; a name without any is an error."""
    found = http.resolve("localhost", 20)
    assert {"127.0.0.1", "::1"} & set(found)
    assert len(set(found)) == len(found)
    for name in ("no-such-name.invalid", "a" * 64 + ".example"):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - each system has its own words
            http.resolve(name, 20)
        assert not isinstance(caught.value, TimeoutError)


def test_a_name_that_takes_long_is_told_by_the_wires_as_by_the_system() -> None:
    """Node's look-up cannot be ended either."""
    asked: list[dict[str, Any]] = []

    def ask(**order: Any) -> dict[str, Any]:
        asked.append(order)
        return {"addresses": [], "late": True}

    with pytest.raises(TimeoutError):
        WiresHttp(ask).resolve("crm.example", 0.25)
    assert asked == [{"do": "resolve", "host": "crm.example", "ms": 250}]


def test_wires_that_fail_are_no_answer() -> None:
    """Their words may hold an address, so they are not told."""

    def ask(**_: Any) -> dict[str, Any]:
        raise OSError("connect ECONNREFUSED 127.0.0.1:5432")

    with failing(Failure.BROKEN):
        get(WiresHttp(ask), "https://identity.example")


def saying(said: bytes) -> Callable[[socket, Event], None]:
    """A receiver that says this, and hangs up."""

    def work(line: socket, _: Event) -> None:
        line.recv(1_000)
        line.sendall(said)

    return work
