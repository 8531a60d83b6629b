"""One POST to an address that was checked, within one time, the answer's body unread.

The connection goes to the address itself, so nothing is looked up again. The name of the URL is the
one that the certificate must be of.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException
from threading import Lock, Timer
from time import monotonic

from usher.core.domain.public_addresses import Address
from usher.core.domain.sink_urls import Target
from usher.core.http.interface import Answer, Failure, HttpError


def post(
    target: Target,
    address: Address,
    headers: Mapping[str, str],
    body: bytes,
    *,
    connect_seconds: float,
    seconds: float,
) -> Answer:
    """See ``usher.core.http.interface.Http``."""
    until = monotonic() + seconds
    try:
        line = socket.create_connection(
            (str(address), target.port), max(0.001, min(connect_seconds, seconds))
        )
    except OSError as error:
        raise HttpError(Failure.CONNECT, type(error).__name__) from None
    try:
        answer = _exchange(target, line, until, headers, body)
        problem = ""
    except ssl.SSLCertVerificationError as error:
        raise HttpError(Failure.CERTIFICATE, error.verify_message) from None
    except (OSError, HTTPException) as error:
        problem = type(error).__name__  # its message may have addresses
    if monotonic() >= until:  # headers that end with the connection count as whole
        raise HttpError(Failure.TIME, problem)
    if problem:
        raise HttpError(Failure.BROKEN, problem)
    return answer


def _exchange(
    target: Target, line: socket.socket, until: float, headers: Mapping[str, str], body: bytes
) -> Answer:
    if target.secure:
        line = _trust().wrap_socket(
            line, server_hostname=target.host, do_handshake_on_connect=False
        )
    with _ended(line, until):
        if isinstance(line, ssl.SSLSocket):
            line.do_handshake()
        connection = HTTPConnection(target.authority)
        connection.sock = line
        connection.request("POST", target.path, body, {**headers, "Host": target.authority})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()})


@contextmanager
def _ended(line: socket.socket, until: float) -> Iterator[None]:
    """Close a connection at the end, and shut it down at a time.

    Time limits of a socket hold for each piece: one byte a second would never meet them.
    """
    lock = Lock()

    def shut() -> None:
        with lock, suppress(OSError):
            # Not the method of a TLS socket, which would go on reading in plain.
            socket.socket.shutdown(line, socket.SHUT_RDWR)

    left = max(0.0, until - monotonic())
    line.settimeout(left + 1)
    timer = Timer(left, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:  # once closed, its number may be that of another one
            line.close()


@cache
def _trust() -> ssl.SSLContext:
    """The authorities of the system, and of ``SSL_CERT_FILE``."""
    return ssl.create_default_context()
