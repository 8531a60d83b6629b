"""The wires, given orders as Python gives them, and servers for them."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import IO, Any

from tests.netlify_site import NODE
from tests.support import clean_environment

HARNESS = Path(__file__).parent / "wires_harness.mjs"
SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])


class Wires:
    """Gives orders, each with its answer."""

    def __init__(self, stdin: IO[str], stdout: IO[str]) -> None:
        self._stdin = stdin
        self._stdout = stdout

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Give one order; bytes go as they are."""
        octets = order.pop("bytes", None)
        if octets is not None:
            order["bytes"] = base64.b64encode(octets).decode()
        self._stdin.write(json.dumps({"do": do, **order}) + "\n")
        self._stdin.flush()
        told: dict[str, Any] = json.loads(self._stdout.readline())
        if "bytes" in told:
            told["bytes"] = base64.b64decode(told["bytes"])
        return told


@contextmanager
def wires(**variables: str) -> Iterator[Wires]:
    """Run the wires in a process of Node."""
    with subprocess.Popen(
        [f"{NODE}/node", str(HARNESS)],
        env=clean_environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Wires(process.stdin, process.stdout)
        finally:
            process.kill()


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server on loopback that does this with each connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    Thread(target=run, args=(connection,), daemon=True).start()

        def run(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                serve(connection)

        thread = Thread(target=accept, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        thread.join()


def in_tls(certificate: Path, key: Path) -> Callable[[socket.socket], None]:
    """PostgreSQL's start of TLS with a certificate; then everything comes back as it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve(connection: socket.socket) -> None:
        assert connection.recv(8) == SSL_REQUEST
        connection.sendall(b"S")
        with context.wrap_socket(connection, server_side=True) as safe:
            echo(safe)

    return serve


def echo(connection: socket.socket) -> None:
    """Send back whatever comes."""
    while data := connection.recv(65_536):
        connection.sendall(data)
