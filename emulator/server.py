"""The emulator behind the standard library's HTTP server: for tests, and to run it by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar, Final

from usher.functions._shared.http import Request, Response

Handle = Callable[[Request], Response]

MAX_BODY_BYTES: Final = 16_777_216
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class _Adapter(BaseHTTPRequestHandler):
    """One connection: its requests are handed on, their answers written out."""

    answer: ClassVar[Handle]
    protocol_version = "HTTP/1.1"
    timeout = 30
    disable_nagle_algorithm = True  # head and body are two writes: 40 ms apart otherwise

    def handle(self) -> None:
        """Requests until the connection ends; a client that left meanwhile is no fault."""
        with suppress(ConnectionError):
            super().handle()

    def _serve(self) -> None:
        length = self.headers.get("Content-Length") or "0"
        chunked = "Transfer-Encoding" in self.headers
        if chunked or not (length.isascii() and length.isdecimal() and len(length) < 10):
            self._refuse(411)
            return
        if int(length) > MAX_BODY_BYTES:
            self._refuse(413)
            return
        body = self.rfile.read(int(length))
        path, _, query = self.path.partition("?")
        headers: dict[str, tuple[str, ...]] = {}
        for name, value in self.headers.items():
            headers[name.lower()] = (*headers.get(name.lower(), ()), value)
        answer = type(self).answer(Request(self.command, path, headers, body, query))
        content = answer.body.encode()
        self.send_response(answer.status)
        for name, value in answer.all_headers().items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and answer.status != 204:
            self.wfile.write(content)

    def _refuse(self, status: int) -> None:
        """Refuse a request whose body cannot be skipped, and end the connection."""
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """No access log: paths and queries can hold tokens."""


@contextmanager
def serving(handle: Handle, port: int = 0, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve in threads until the block ends; gives the address, without a slash at its end.

    Args:
        handle: ``Emulator.handle``, or anything of that form.
        port: 0: any that is free.
    """
    attributes: dict[str, Any] = {"answer": staticmethod(handle)}
    attributes |= {f"do_{method}": _Adapter._serve for method in _METHODS}  # noqa: SLF001
    adapter = type("Adapter", (_Adapter,), attributes)
    server = ThreadingHTTPServer((host, port), adapter)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
