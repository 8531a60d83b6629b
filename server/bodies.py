"""Reading the bodies of requests: how large, how long, and how much of memory for all at once.

Anybody may send a body up to ``USHER_MAX_BODY_BYTES``. A larger one is read only where the headers
show a good signature of an event. Each of the two has room of its own, so that strangers, who can
fill theirs, keep no event out. So have large logins: people make them as often as they like, and
must keep out neither others nor what an administrator did to them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol

from granian.rsgi import ProtocolClosed  # type: ignore[attr-defined]  # re-exported
from msgspec.structs import replace

from usher.core.bounds import (
    FREE_BODY_BYTES,
    MAX_EVENT_BYTES,
    MAX_KEPT_BODY_BYTES,
    ROOM_FOR_ANYBODY_BYTES,
    ROOM_FOR_EVENTS_BYTES,
    ROOM_FOR_LARGE_LOGINS_BYTES,
)
from usher.core.errors import (
    BodyTooLargeError,
    OverloadedError,
    RequestError,
    RequestTimeoutError,
)
from usher.functions._shared.http import Request
from usher.server.deadlines import Deadlines

BODY_TIMEOUT_SECONDS: Final = 10.0
ROOM_SECONDS: Final = 2.0
"""How long a request waits for room; Identity waits for five seconds in all."""
MAX_LENGTH_DIGITS: Final = 12

EVENT_HEADER: Final = "x-netlify-event"
_DONE: Final = ("usermodified", "userdeleted")
"""Events that tell what an administrator has done; Identity sends each of them once."""

Signed = Callable[[Request], bool]
"""Whether a request's headers show a good signature of an event."""


def tells_what_was_done(request: Request) -> bool:
    """Whether the event is, by address or header, an administrator's doing, and not a person's own.

    The header is not signed. It decides only who waits for whom among those with a good signature.
    """
    named = request.headers.get(EVENT_HEADER, ("",))[0]
    return named.endswith(_DONE) or request.path.endswith(_DONE)


class Exchange(Protocol):
    """RSGI's body of one request."""

    async def __call__(self) -> bytes:
        """Return the whole body."""

    def __aiter__(self) -> Any:
        """Iterate over the body in pieces."""


class Room:
    """A number of bytes, of which each request takes some, in the order of their arrival."""

    def __init__(self, size_bytes: int) -> None:
        self._free = size_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size_bytes: int) -> None:
        """Take some, as soon as they are free and whoever came earlier has theirs.

        Raises:
            OverloadedError: they are not, for two seconds.
        """
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size_bytes, turn))
        self._serve()
        try:
            await asyncio.wait((turn,), timeout=ROOM_SECONDS)
        except asyncio.CancelledError:
            self._leave(turn, size_bytes)
            raise
        if not turn.done():
            self._leave(turn, size_bytes)
            raise OverloadedError("The bodies of other requests take all memory there is.")

    def _leave(self, turn: asyncio.Future[None], size_bytes: int) -> None:
        if turn.done():
            self.give_back(size_bytes)
        else:
            turn.cancel()
            self._serve()

    def give_back(self, size_bytes: int) -> None:
        """Let others have them."""
        self._free += size_bytes
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            size_bytes, turn = self._waiting[0]
            if not turn.cancelled():
                if size_bytes > self._free:
                    return
                self._free -= size_bytes
                turn.set_result(None)
            self._waiting.popleft()


class Lease:
    """The part of a room that one request has taken, until its body is no longer needed."""

    def __init__(self) -> None:
        self._room: Room | None = None
        self._size = 0

    async def take(self, room: Room, size_bytes: int) -> None:
        """Take of this room, and no longer of another.

        Raises:
            OverloadedError
        """
        self.end()
        await room.take(size_bytes)
        self._room, self._size = room, size_bytes

    def end(self) -> None:
        """Give it back."""
        if self._room is not None:
            self._room.give_back(self._size)
            self._room = None


class Bodies:
    """Reads the bodies of one worker's requests.

    Args:
        max_body_bytes: what anybody may send.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._free_bytes = min(FREE_BODY_BYTES, max_body_bytes)
        self._anybody = Room(ROOM_FOR_ANYBODY_BYTES)
        self._events = Room(ROOM_FOR_EVENTS_BYTES)
        self._large_logins = Room(ROOM_FOR_LARGE_LOGINS_BYTES)
        self._slow = Deadlines(BODY_TIMEOUT_SECONDS)

    async def read(
        self, request: Request, exchange: Exchange, lease: Lease, signed: Signed | None = None
    ) -> Request:
        """The request with its body, which GET and HEAD have none of.

        Args:
            lease: ended by the caller, once the body is no longer needed.
            signed: None: no event comes here.

        Raises:
            RequestError, BodyTooLargeError, RequestTimeoutError, OverloadedError
        """
        if request.method in ("GET", "HEAD"):
            return request
        announced = request.headers.get("content-length", ("",))[0]
        size_bytes = _length(announced) if announced else 0
        if size_bytes > self._free_bytes:
            await self._admit(request, size_bytes, lease, signed)
        try:
            body = await self._slow.wait(
                exchange() if announced else self._chunked(request, exchange, lease, signed)
            )
        except ProtocolClosed:
            raise RequestError("The connection ended before the body did.") from None
        except TimeoutError:
            raise RequestTimeoutError(
                f"The body did not arrive within {BODY_TIMEOUT_SECONDS:.0f} s."
            ) from None
        if announced and len(body) != size_bytes:
            raise RequestError("The body is shorter than Content-Length says.")
        return replace(request, body=body)

    async def _admit(
        self, request: Request, size_bytes: int, lease: Lease, signed: Signed | None
    ) -> None:
        """Take room for a body that is not free."""
        if signed is None or not signed(request):
            if size_bytes > self._max_body_bytes:
                raise BodyTooLargeError(self._max_body_bytes)
            await lease.take(self._anybody, size_bytes)
        elif size_bytes > max(MAX_EVENT_BYTES, self._max_body_bytes):
            raise BodyTooLargeError(MAX_EVENT_BYTES)
        elif size_bytes > MAX_KEPT_BODY_BYTES and not tells_what_was_done(request):
            await lease.take(self._large_logins, size_bytes)
        else:
            await lease.take(self._events, size_bytes)

    async def _chunked(
        self, request: Request, exchange: Exchange, lease: Lease, signed: Signed | None
    ) -> bytes:
        """Read a body in pieces. Granian ends it with an empty piece, and gives another on errors.

        Trailer fields (RFC 9112, 7.1.2) look like such an error, and are refused with it.
        """
        body = bytearray()
        admitted = self._free_bytes
        ended = False
        async for piece in exchange:
            if ended:
                raise RequestError("The body's chunks are broken, or the last one is missing.")
            ended = not piece
            body += piece
            while len(body) > admitted:  # nobody knows how long it will be
                further = self._max_body_bytes, MAX_EVENT_BYTES, MAX_EVENT_BYTES + 1
                admitted = next(size for size in further if size > admitted)
                await self._admit(request, admitted, lease, signed)
        return bytes(body)


def _length(announced: str) -> int:
    if not announced.isdecimal():
        raise RequestError("Content-Length is not a number.")
    # int() refuses thousands of digits.
    return int(announced) if len(announced) <= MAX_LENGTH_DIGITS else 10**MAX_LENGTH_DIGITS
