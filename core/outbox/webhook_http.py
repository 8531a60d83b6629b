"""One POST of a webhook: to an address that was checked, within one time, the answer's body unread.

The connection goes to the address itself, so nothing is looked up again. The name of the URL is the
one that the certificate must be of. Redirects are not followed.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from http.client import HTTPConnection, HTTPException
from threading import Lock, Timer
from time import monotonic
from typing import Final

from msgspec import Struct

from usher.core.domain.public_addresses import Address, Network
from usher.core.domain.sink_urls import Target
from usher.core.errors import WebhookError
from usher.core.outbox.addresses import LookUp, addresses_of, look_up

CONNECT_SECONDS: Final = 4.0
"""For one address, where a name has several."""
MAX_ADDRESSES: Final = 4
"""Tried in one attempt."""

MAX_RETRY_AFTER_CHARACTERS: Final = 64


class Answer(Struct, frozen=True):
    """An answer: its status, and its header ``Retry-After``, empty where there is none."""

    status: int
    retry_after: str


def post(
    target: Target,
    headers: Mapping[str, str],
    body: bytes,
    *,
    networks: Collection[Network],
    seconds: float,
    resolve: LookUp = look_up,
) -> Answer:
    """Send a webhook.

    Args:
        networks: allowed besides public addresses.
        seconds: for all of it.

    Raises:
        WebhookError: there is no answer in time.
    """
    until = monotonic() + seconds
    found = addresses_of(target, networks, seconds, resolve)
    try:
        answer = _exchange(target, _connected(found, target.port, until), until, headers, body)
    except ssl.SSLCertVerificationError as error:
        raise WebhookError(f"the certificate is not good: {error.verify_message}") from None
    except (OSError, HTTPException) as error:
        problem = f"the connection broke ({type(error).__name__})"  # its message may have addresses
    else:
        problem = ""
    if monotonic() >= until:
        raise WebhookError(f"no answer within {seconds:g} seconds")
    if problem:
        raise WebhookError(problem)
    return answer


def _connected(addresses: list[Address], port: int, until: float) -> socket.socket:
    """A connection to the first of the addresses that takes one."""
    for address in addresses[:MAX_ADDRESSES]:
        seconds = min(CONNECT_SECONDS, until - monotonic())
        if seconds <= 0:
            raise TimeoutError
        with suppress(OSError):
            return socket.create_connection((str(address), port), seconds)
    raise WebhookError("nobody answers at the address")


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
        return Answer(
            answer.status, answer.headers.get("Retry-After", "")[:MAX_RETRY_AFTER_CHARACTERS]
        )


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
