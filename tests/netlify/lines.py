"""A line between a function and its database that goes silent when told to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

from sqlalchemy.engine import make_url


class Proxy:
    """Passes bytes on to PostgreSQL's socket.

    Attributes:
        port: its own, on loopback.
        swallows: lines that are open now swallow the server's answers; new ones do not.
        swallows_writes: so does each line once something was written on it.
        lines: how many there have been.
    """

    def __init__(self, server: str, listener: socket.socket) -> None:
        self.port: int = listener.getsockname()[1]
        self.swallows_writes = False
        self.lines = 0
        self._silent_below = 0
        self._server = server
        Thread(target=self._listen, args=(listener,), daemon=True).start()

    def swallow(self) -> None:
        """Swallow what the server says on the lines that there are."""
        self._silent_below = self.lines

    def _listen(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                came = listener.accept()[0]
                Thread(target=self._serve, args=(came, self.lines), daemon=True).start()
                self.lines += 1

    def _serve(self, came: socket.socket, number: int) -> None:
        written: list[bytes] = []

        def answer() -> None:
            with suppress(OSError):
                while piece := server.recv(65_536):
                    if not written and number >= self._silent_below:
                        came.sendall(piece)

        with suppress(OSError), came, socket.socket(socket.AF_UNIX) as server:
            server.connect(self._server)
            back = Thread(target=answer, daemon=True)
            back.start()
            while piece := came.recv(65_536):
                if self.swallows_writes and b"INSERT INTO" in piece:
                    written.append(piece)
                server.sendall(piece)
            server.shutdown(socket.SHUT_RDWR)
            back.join()


@contextmanager
def proxy(postgresql_url: str) -> Iterator[Proxy]:
    """A proxy before PostgreSQL."""
    found = make_url(postgresql_url)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Proxy(f"{found.query['host']}/.s.PGSQL.{found.port or 5432}", listener)
        listener.shutdown(socket.SHUT_RDWR)
