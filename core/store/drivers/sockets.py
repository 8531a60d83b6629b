"""A line to PostgreSQL by a socket of this process, with TLS by Python's ``ssl``."""

from __future__ import annotations

import select
import socket
import ssl
import sys
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Final

from usher.core.database_line import Target, authorities

_SSL_REQUEST: Final = bytes([0, 0, 0, 8, 4, 210, 22, 47])
_PIECE: Final = 65_536
_NOTICE_A_DEAD_PEER: Final = {
    "TCP_KEEPIDLE": 5,
    "TCP_KEEPINTVL": 2,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": 10_000,
}
"""Options of TCP, where the system has them; seconds, the last one milliseconds."""
_NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class SocketLine:
    """A line on a connected socket; see ``Line``."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._closing = Lock()

    def exchange(self, data: bytes, seconds: float | None) -> bytes:
        """Send all of it, and return what has arrived; the server may want to be read first."""
        until = None if seconds is None else monotonic() + seconds
        left, found = memoryview(data), bytearray()
        while left or not found:
            sent = self._send(left) if left else 0
            left = left[sent:]
            piece = self._receive()
            if piece == b"":
                if found:
                    break  # the next exchange finds the end again
                raise ConnectionResetError("the server closed the connection")
            found += piece or b""
            if not sent and not piece:
                self._wait(bool(left), until)
        return bytes(found)

    def send(self, data: bytes) -> None:
        """Send what goes at once."""
        self._send(memoryview(data))

    def interrupt(self) -> None:
        """Shut the socket down, which wakes up whoever waits on it."""
        with self._closing:  # closed, its number may be that of another socket
            if self._socket.fileno() >= 0:
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket."""
        with self._closing, suppress(OSError):
            self._socket.close()

    def _wait(self, writing: bool, until: float | None) -> None:
        waits = select.poll()
        waits.register(self._socket, select.POLLIN | (select.POLLOUT if writing else 0))
        if not waits.poll(None if until is None else max(0.0, until - monotonic()) * 1_000):
            raise TimeoutError("no answer in time")

    def _send(self, data: memoryview) -> int:
        try:
            return self._socket.send(data)
        except _NOT_NOW:
            return 0
        except OSError:
            return len(data)  # the server may have said why, which is still to be read

    def _receive(self) -> bytes | None:
        try:
            return self._socket.recv(_PIECE)
        except _NOT_NOW:
            return None


def dial(target: Target, seconds: float) -> SocketLine:
    """A line to a server, encrypted where the target says so.

    Raises:
        OSError: it cannot be had, or the certificate is not believed.
    """
    if sys.platform == "emscripten":
        raise OSError(
            "Python opens no lines here, for its ssl verifies nothing under Emscripten: they are"
            " given to the driver (usher.core.store.drivers.pg8000.over)"
        )
    until = monotonic() + seconds
    context = _context(target) if target.tls else None
    connected = _connected(target, until)
    try:
        if context is not None:
            connected = _encrypted(connected, context, target.host, until)
    except BaseException:
        connected.close()
        raise
    return SocketLine(connected)


def _connected(target: Target, until: float) -> socket.socket:
    if target.host.startswith("/"):
        local = socket.socket(socket.AF_UNIX)
        try:
            local.settimeout(_left(until))
            local.connect(f"{target.host}/.s.PGSQL.{target.port}")
        except BaseException:
            local.close()
            raise
        return local
    found = socket.getaddrinfo(target.address or target.host, target.port, type=socket.SOCK_STREAM)
    failed: OSError | None = None
    for number, (family, kind, protocol, _, address) in enumerate(found):
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(_left(until) / (len(found) - number))
            opened.connect(address)
        except OSError as error:
            opened.close()
            failed = error
        else:
            _prepare(opened)
            return opened
    raise failed or OSError("the name has no address")


def _prepare(opened: socket.socket) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _NOTICE_A_DEAD_PEER.items():
        option = getattr(socket, name, None)
        if option is not None:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)


def _context(target: Target) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authorities(target))  # verifies chain and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["postgresql"])
    return context


def _encrypted(
    connected: socket.socket, context: ssl.SSLContext, name: str, until: float
) -> socket.socket:
    """PostgreSQL's own start of TLS: a request, one byte back, and the handshake."""
    connected.settimeout(_left(until))
    connected.sendall(_SSL_REQUEST)
    if connected.recv(1) != b"S":
        raise OSError("server does not support SSL, but sslmode asks for it")
    connected.settimeout(_left(until))
    return context.wrap_socket(connected, server_hostname=name)


def _left(until: float) -> float:
    """Seconds left; at least a moment, since zero would mean not to wait at all."""
    return max(0.001, until - monotonic())
