"""A site as Netlify serves it, on loopback: pages, Identity's settings, and Usher for the rest."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.receivers import Certificates
from usher.functions._shared.http import Request
from usher.netlify.entry import FOR_IDENTITY
from usher.server import routes

HOOK = "/.netlify/functions/identity"
SETTINGS = "/.netlify/identity/settings"
PAGE = {"Content-Type": "text/html; charset=utf-8"}


@dataclass
class Answer:
    """An answer; its length is announced unless it is ``chunked``."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False


Ask = Callable[[str, str, Mapping[str, str], bytes], Answer]
"""Answers a method, a path, headers by lower-case name, and a body."""


def with_usher(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """The process's App answers, as the functions do."""
    many = {name: (value,) for name, value in headers.items()}
    response = routes.answer(Request(method, path, many, body, ""))
    told = response.all_headers() | ({} if routes.is_api(path) else FOR_IDENTITY)
    return Answer(response.status, response.body.encode(), dict(told))


def accounts(**settings: Any) -> Answer:
    """Identity's public settings."""
    external = {"email": True, "google": True, "github": False}
    told = {"autoconfirm": False, "disable_signup": False, "external": external} | settings
    return Answer(200, json.dumps(told).encode(), {"Content-Type": "application/json"})


@dataclass
class DeployedSite:
    """A running site.

    Attributes:
        usher: answers for its functions.
        spoiled: answers in the place of the right ones, by path.
        every: headers that each answer gets.
        without: headers that each answer loses.
        page: whether a path of nobody is answered with the first page.
        requests: methods and paths that came.
    """

    usher: Ask = with_usher
    url: str = ""
    spoiled: dict[str, Answer] = field(default_factory=dict)
    every: dict[str, str] = field(default_factory=dict)
    without: set[str] = field(default_factory=set)
    page: bool = True
    chunked: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What Netlify answers."""
        self.requests.append((method, path))
        if path in self.spoiled:
            return self.spoiled[path]
        if path == HOOK or path.startswith("/api/"):
            found = self.usher(method, path, headers, body)
            kept = {name: v for name, v in found.headers.items() if name not in self.without}
            return Answer(found.status, found.body, kept | self.every, self.chunked)
        if path == SETTINGS:
            return accounts()
        is_page = self.page and not path.startswith("/.netlify/")
        return Answer(200 if is_page else 404, b"<h1>A page</h1>" if is_page else b"", PAGE)


@contextmanager
def deployed(site: DeployedSite, certificates: Certificates | None = None) -> Iterator[None]:
    """Serve it; ``url`` is its address then."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    server.daemon_threads = True
    if certificates:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate, certificates.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    site.url = f"http{'s' if certificates else ''}://localhost:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(site: DeployedSite) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65_536  # an answer in two packets waits for an acknowledgement

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found = site.answer(self.command, self.path, headers, body)
            self.send_response(found.status)
            length = {"Content-Length": str(len(found.body))}
            how = {"Transfer-Encoding": "chunked"} if found.chunked else length
            for name, value in {**found.headers, **how}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                size = f"{len(found.body):x}\r\n".encode()
                octets = size + found.body + b"\r\n0\r\n\r\n" if found.chunked else found.body
                self.wfile.write(octets)

        do_POST = do_HEAD = do_GET  # noqa: N815 - the base class names them so

        def log_message(self, *_: Any) -> None:
            """Tests print nothing."""

    return Handler
