"""HTTP servers on loopback for tests: one that answers as told, one that is our functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

from tests.support import HANDLERS

Answer = tuple[int, dict[str, str], bytes]
HANG: Answer = (0, {}, b"")
"""No answer until the server is closed."""


@dataclass
class Stub:
    """A running server; ``requests`` has (path, headers, body) of each request in order."""

    url: str
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)


@contextmanager
def serving(answer: Callable[[int, str, dict[str, str], bytes], Answer]) -> Iterator[Stub]:
    """Serve what our clients send; ``answer`` gets its number, path, headers, body."""
    closing = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            stub.methods.append(self.command)
            stub.requests.append((self.path, headers, body))
            status, fields, content = answer(len(stub.requests), self.path, headers, body)
            if not status:
                closing.wait(30)
                return
            self.send_response(status)
            for name, value in fields.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_DELETE = do_POST  # noqa: N815 - the base class names them so

        def log_message(self, *_: Any) -> None:
            """Tests print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub = Stub(f"http://127.0.0.1:{server.server_port}")
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield stub
    finally:
        closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def answering(*answers: int | Answer) -> Iterator[Stub]:
    """A server that gives these answers (a number is a status) one by one, then the last again."""
    told: Sequence[Answer] = [a if isinstance(a, tuple) else (a, {}, b"") for a in answers]
    with serving(lambda number, *_: told[min(number, len(told)) - 1]) as stub:
        yield stub


@contextmanager
def functions() -> Iterator[Stub]:
    """Our functions at their URLs, run by the process's App."""

    def call(_number: int, path: str, headers: dict[str, str], body: bytes) -> Answer:
        event = {"httpMethod": "POST", "path": path, "headers": headers, "body": body.decode()}
        answer = HANDLERS[path.removeprefix("/.netlify/functions/")](event, None)
        return answer["statusCode"], answer["headers"], answer["body"].encode()

    with serving(call) as stub:
        yield stub
