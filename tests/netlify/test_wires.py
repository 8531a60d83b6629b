"""What JavaScript does for Python: lines, whose TLS is verified in full, each with its time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netlify.wires import Wires, echo, in_tls, server, wires
from tests.receivers import NAME, make_certificates
from tests.support import free_port

MS = 60_000


@pytest.fixture(scope="module")
def node() -> Iterator[Wires]:
    """The wires of one process."""
    with wires() as node:
        yield node


def opened(node: Wires, port: int, **order: Any) -> dict[str, Any]:
    """The answer to an order for a line to loopback."""
    wanted = {"host": NAME, "address": "127.0.0.1", "tls": False, "ca": None, "ms": MS, **order}
    return node.ask("open", port=port, **wanted)


def test_bytes_go_out_and_come_back(node: Wires) -> None:
    """Over one line, of any value and size."""
    data = bytes(range(256)) * 1_000
    with server(echo) as port:
        line = opened(node, port)["line"]
        assert node.ask("send", line=line, bytes=data[:100]) == {}
        found = node.ask("exchange", line=line, bytes=data[100:], ms=MS)["bytes"]
        while len(found) < len(data):
            found += node.ask("exchange", line=line, ms=MS)["bytes"]
        assert found == data
        assert node.ask("close", line=line) == {}
        assert node.ask("exchange", line=line, bytes=b"x", ms=MS) == {"error": "the line is closed"}


def test_a_line_of_a_thread_that_ended_is_never_another_one(node: Wires) -> None:
    """Python may hold it still, and would read another session's answers by it."""
    with server(echo) as port:
        old = opened(node, port)["line"]
        assert node.ask("end") == {}
        new = opened(node, port)["line"]
        assert node.ask("exchange", line=old, bytes=b"x", ms=MS) == {"error": "the line is closed"}
        assert node.ask("close", line=old) == {}
        assert node.ask("exchange", line=new, bytes=b"hello", ms=MS) == {"bytes": b"hello"}
        node.ask("close", line=new)


def test_a_line_of_tls_is_had_where_the_certificate_is_good(node: Wires, tmp_path: Path) -> None:
    """For the name, whatever the address is."""
    made = make_certificates(tmp_path)
    with server(in_tls(made.certificate, made.key)) as port:
        line = opened(node, port, tls=True, ca=made.authority.read_text())["line"]
        assert node.ask("exchange", line=line, bytes=b"hello", ms=MS) == {"bytes": b"hello"}
        node.ask("close", line=line)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"host": "other.example"}, "does not match certificate's altnames"),
        ({"host": "127.0.0.1"}, "does not match certificate's altnames"),
        ({"ca": None}, "certificate"),
    ],
    ids=["another name", "an address", "an authority that nobody knows"],
)
def test_a_certificate_that_does_not_prove_the_name_is_refused(
    node: Wires, tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    """Nothing is sent to such a server: Pyodide's own ``ssl`` took every one of them."""
    made = make_certificates(tmp_path)
    heard = []

    def serve(connection: socket.socket) -> None:
        in_tls(made.certificate, made.key)(connection)
        heard.append("more than a handshake")

    with server(serve) as port:
        order = {"tls": True, "ca": made.authority.read_text(), **wrong}
        told = opened(node, port, **order)
    assert said in told["error"]
    assert heard == []


def test_an_expired_certificate_is_refused(node: Wires, tmp_path: Path) -> None:
    """Its authority and its name are right."""
    made = make_certificates(tmp_path, days=-1)
    with server(in_tls(made.certificate, made.key)) as port:
        told = opened(node, port, tls=True, ca=made.authority.read_text())
    assert told == {"error": "certificate has expired"}


def test_a_server_without_tls_is_refused(node: Wires) -> None:
    """It is not spoken to in the clear instead."""
    heard = []

    def serve(connection: socket.socket) -> None:
        heard.append(connection.recv(100))
        connection.sendall(b"N")
        heard.append(connection.recv(100))

    with server(serve) as port:
        assert opened(node, port, tls=True) == {"error": "the database offers no TLS"}
    assert heard[1:] in ([], [b""])


def test_bytes_before_the_handshake_are_refused(node: Wires) -> None:
    """Somebody on the way could slip them in before the encryption (CVE-2021-23222)."""

    def serve(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"SR")
        connection.recv(100)

    with server(serve) as port:
        assert opened(node, port, tls=True) == {"error": "the database offers no TLS"}


def test_what_takes_too_long_fails_and_ends_the_line(node: Wires) -> None:
    """An answer that came later would be taken for the next one's."""
    went = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(100)
        connection.recv(100)
        went.set()

    with server(serve) as port:
        line = opened(node, port)["line"]
        told = node.ask("exchange", line=line, bytes=b"x", ms=50)
        assert told == {"error": "no answer in 50 ms"}
        assert went.wait(60)
        assert "error" in node.ask("exchange", line=line, bytes=b"x", ms=MS)


def test_where_nothing_listens_there_is_no_line(node: Wires) -> None:
    """The words are those of the system."""
    assert "ECONNREFUSED" in opened(node, free_port())["error"]


def test_the_other_side_may_close(node: Wires) -> None:
    """What it sent before is had first."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(b"bye")

    with server(serve) as port:
        line = opened(node, port)["line"]
        assert node.ask("exchange", line=line, ms=MS) == {"bytes": b"bye"}
        told = node.ask("exchange", line=line, bytes=b"x", ms=MS)
        assert "error" in told
