"""Receivers of webhooks on loopback: HTTPS by an authority of our own, and worse ones."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import pytest
from msgspec import Struct

from usher.core.http import checked
from usher.core.http.native import NativeHttp

NAME = "crm.example"
"""The name of every receiver; tests say which address it has."""
_EXTENSIONS = """
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[receiver]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {names}
[req]
distinguished_name = names
[names]
"""


class Certificates(Struct, frozen=True):
    """An authority, and a certificate that it gave; files of PEM."""

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, *more: str, days: int = 2) -> Certificates:
    """Make an authority, and a certificate of ``NAME`` and of more: ``DNS:…``, ``IP:…``.

    Args:
        days: until it expires.
    """

    def openssl(*arguments: str) -> None:
        command = ["openssl", *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)

    (folder / "extensions").write_text(_EXTENSIONS.format(names=", ".join([f"DNS:{NAME}", *more])))
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl(
        *("req", "-x509", "-config", "extensions", "-extensions", "authority", *curve),
        *("-subj", "/CN=Test authority", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"),
    )
    openssl(
        *("req", "-config", "extensions", *curve, "-subj", "/CN=receiver"),
        *("-keyout", "receiver.key", "-out", "receiver.csr"),
    )
    openssl(
        *("x509", "-req", "-in", "receiver.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *(
            "-CAcreateserial",
            "-days",
            str(days),
            "-extfile",
            "extensions",
            "-extensions",
            "receiver",
        ),
        *("-out", "receiver.pem"),
    )
    return Certificates(folder / "ca.pem", folder / "receiver.pem", folder / "receiver.key")


@contextmanager
def trusting(certificates: Certificates) -> Iterator[None]:
    """Take the authority for one of the system."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(certificates.authority))
        checked._trust.cache_clear()
        yield
    checked._trust.cache_clear()


class Named(NativeHttp):
    """HTTP where a name server gives every name these addresses; of several lists one each time."""

    def __init__(self, *answers: Sequence[str]) -> None:
        super().__init__()
        self.answers = list(answers)

    def resolve(self, _host: str, _seconds: float) -> Sequence[str]:
        """See ``Http``."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Webhook(Struct, frozen=True):
    """One webhook that came: its headers by lower-case name, and its body."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """A receiver that keeps what comes and answers as told.

    Attributes:
        answers: statuses and headers of the next answers; when they are used up, 204.
        name: the one that TLS was last asked for.
    """

    def __init__(self, certificates: Certificates | None = None) -> None:
        self.came: list[Webhook] = []
        self.answers: list[tuple[int, dict[str, str]]] = []
        self.name: str | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.certificate, certificates.key)
            context.sni_callback = self._see_name
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _see_name(self, _line: Any, name: str | None, _context: Any) -> None:
        self.name = name


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.came.append(Webhook(self.path, headers, body))
            status, headers = receiver.answers.pop(0) if receiver.answers else (204, {})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0" if status == 204 else "6")
            self.end_headers()
            self.wfile.write(b"" if status == 204 else b"secret")

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def listening(work: Callable[[socket.socket, Event], None]) -> Iterator[int]:
    """The port of a listener that does ``work`` with each connection, until the event is set."""
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while not over.is_set():
                with suppress(OSError):
                    line, _ = server.accept()
                    with line:
                        work(line, over)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        port: int = server.getsockname()[1]
        yield port
        over.set()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            pass  # lets the listener see that it is over
        thread.join(10)
