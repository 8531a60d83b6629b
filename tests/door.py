"""A server's door: requests byte by byte, and what they leave behind as rows and log lines.

HTTP clients refuse to send most of what tests/server/test_bad_input.py is about.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from tests.forge import good
from tests.support import Server
from usher.functions._shared.headers import SECURITY_HEADERS

JSON = (b"Content-Type: application/json",)
GENERIC_401 = (
    b'{"type":"urn:usher:error:signature_invalid","title":"The signature was not accepted",'
    b'"status":401,"code":"signature_invalid"}'
)
Line = str | bytes


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def code(self) -> str:
        """The code of a problem document."""
        return str(json.loads(self.body)["code"])

    def header(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


class Door:
    """A server, spoken to byte by byte, and what it wrote: rows and log lines."""

    def __init__(self, server: Server, database: Path) -> None:
        self.server = server
        self._database = database
        self._read = server.log.stat().st_size

    def exchange(self, request: bytes, *, method: str = "POST", half_close: bool = False) -> Answer:
        """Send bytes and read one answer; five seconds without one are a hang."""
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=5) as connection:
            connection.sendall(request)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            with closing(HTTPResponse(connection, method=method)) as response:
                response.begin()
                return Answer(response.status, response.getheaders(), response.read())

    def send(
        self,
        body: bytes = b"",
        *lines: Line,
        path: str = "/.netlify/functions/identity",
        method: str = "POST",
        length: int | None = None,
        half_close: bool = False,
    ) -> Answer:
        """Send one request with these header lines; ``length``: what Content-Length says."""
        said = len(body) if length is None else length
        head = (f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *lines)
        texts = [line.encode("latin-1") if isinstance(line, str) else line for line in head]
        texts.append(b"Content-Length: %d\r\n\r\n" % said)
        answer = self.exchange(b"\r\n".join(texts) + body, method=method, half_close=half_close)
        check_headers(answer)
        return answer

    def deliver(self, body: bytes, path: str = "identity", at: int | None = None) -> Answer:
        """Send a body with a good signature, made at that second."""
        signature = f"X-Webhook-Signature: {good(body, at or now())}"
        return self.send(body, *JSON, signature, path=f"/.netlify/functions/{path}")

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def rows(self, statement: str, *values: object) -> list[Any]:
        """Rows of the database."""
        with closing(sqlite3.connect(self._database)) as connection:
            return connection.execute(statement, values).fetchall()

    def ledger(self, body: bytes) -> list[Any]:
        """What the ledger has for a body: event, outcome, status, stored body."""
        return self.rows(
            "SELECT event, outcome, reply_status, body FROM deliveries WHERE body_digest = ?",
            hashlib.sha256(body).hexdigest(),
        )

    def log(self) -> list[dict[str, Any]]:
        """The log lines since the last look, each one JSON."""
        with self.server.log.open("rb") as log:
            log.seek(self._read)
            written = log.read()
        self._read += len(written)
        return [json.loads(line) for line in written.splitlines()]


def now() -> int:
    """The current second, as Identity signs it."""
    return int(time.time())


def check_headers(answer: Answer) -> None:
    """Every answer, whatever it says, has each security header once, and is a problem or empty."""
    for name, value in SECURITY_HEADERS.items():
        assert answer.header(name) == [value], name
    assert answer.header("Transfer-Encoding") == []
    if answer.status >= 400:
        assert answer.header("Content-Type") == ["application/problem+json"]
        if answer.body:
            assert json.loads(answer.body)["status"] == answer.status
