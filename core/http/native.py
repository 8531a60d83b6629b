"""HTTP of a process with sockets: urllib3, the system's names, and its authorities."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Final

import urllib3
from urllib3 import exceptions

from usher.core.http.checked import post
from usher.core.http.interface import Answer, AnswerCutError, Failure, HttpError, Limits

CONNECTIONS: Final = 16
"""Kept open at most, to one address."""
_PIECE_BYTES: Final = 65_536


class NativeHttp:
    """See ``Http``; connections of ``request`` are kept open and used again."""

    def __init__(self) -> None:
        self._pool = urllib3.PoolManager(num_pools=4, maxsize=CONNECTIONS, retries=False)

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, limits: Limits
    ) -> Answer:
        """See ``Http``."""
        try:
            answer = self._pool.request(
                method,
                url,
                headers=headers,
                body=body,
                redirect=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=limits.connect_seconds, read=limits.read_seconds),
            )
            try:
                octets = _read(answer, limits)
            finally:
                # Closed first: a connection with unread bytes must not be used again.
                answer.close()
                answer.release_conn()
        except exceptions.HTTPError as error:
            # The error's message may hold an address; its type says enough.
            raise HttpError(_failure(error), type(error).__name__) from None
        found = {name.lower(): value for name, value in answer.headers.items()}
        return Answer(answer.status, found, octets)

    post = staticmethod(post)

    def resolve(self, host: str, seconds: float) -> Sequence[str]:
        """See ``Http``."""
        answer: SimpleQueue[Sequence[str] | OSError] = SimpleQueue()

        def ask() -> None:
            try:
                answer.put(look_up(host))
            except OSError as error:
                answer.put(error)
            except ValueError:  # a name that cannot be asked for
                answer.put(OSError("no name"))

        # The look-up cannot be ended; what it finds after its time is nobody's.
        Thread(target=ask, name="sink-look-up", daemon=True).start()
        try:
            found = answer.get(timeout=max(0.0, seconds))
        except Empty:
            raise TimeoutError from None
        if isinstance(found, OSError):
            raise found
        return found


def look_up(host: str) -> Sequence[str]:
    """The addresses of a name, as the system finds them.

    Raises:
        OSError: it has none, or no server could be asked.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _failure(error: exceptions.HTTPError) -> Failure:
    if isinstance(error, exceptions.NewConnectionError | exceptions.ConnectTimeoutError):
        return Failure.CONNECT
    if isinstance(error, exceptions.SSLError):
        return Failure.CERTIFICATE
    return Failure.TIME if isinstance(error, exceptions.TimeoutError) else Failure.BROKEN


def _read(answer: urllib3.BaseHTTPResponse, limits: Limits) -> bytes:
    """The body.

    urllib3's time limit holds for each piece. One byte a second would never meet it.
    """
    octets = bytearray()
    deadline = time.monotonic() + limits.body_seconds
    while piece := answer.read1(_PIECE_BYTES):
        octets += piece
        large = len(octets) > limits.body_bytes
        if large or time.monotonic() > deadline:
            raise AnswerCutError(bytes(octets[: limits.start_bytes]), len(octets), late=not large)
    return bytes(octets)
