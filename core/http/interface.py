"""The one interface to HTTP and names: what a process with sockets does, and what Netlify's does.

Neither follows a redirect, uses a proxy, or takes an answer without an end. The certificate of
``https://`` is checked before anything is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct

from usher.core.domain.public_addresses import Address
from usher.core.domain.sink_urls import Target


class Limits(Struct, frozen=True):
    """The limits of one request.

    Attributes:
        connect_seconds: for the connection.
        read_seconds: longest wait for a piece of the answer.
        body_seconds: for the whole body, from the answer's headers on.
        body_bytes: greatest body, counted as it is after any ``Content-Encoding``.
        start_bytes: kept of a body that is cut.
    """

    connect_seconds: float
    read_seconds: float
    body_seconds: float
    body_bytes: int
    start_bytes: int


class Answer(Struct, frozen=True):
    """An answer; its headers by lower-case name, the last one of several."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class Failure(Enum):
    """The step at which a request failed."""

    CONNECT = "connect"
    """There is no connection, so nothing was sent."""
    CERTIFICATE = "certificate"
    """Nothing was sent either."""
    TIME = "time"
    BROKEN = "broken"


class HttpError(Exception):
    """There is no answer.

    Attributes:
        detail: a word or sentence on the cause, without addresses.
    """

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(f"{failure.value}: {detail}")
        self.failure = failure
        self.detail = detail


class AnswerCutError(Exception):
    """An answer was not read to its end.

    Attributes:
        start: the beginning of its body.
        received: bytes of it that came.
        late: it took too long; otherwise it is too large.
    """

    def __init__(self, start: bytes, received: int, *, late: bool) -> None:
        super().__init__(f"{'late' if late else 'too large'} after {received} bytes")
        self.start = start
        self.received = received
        self.late = late


class Http(Protocol):
    """A way to send HTTP requests and to look names up."""

    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, limits: Limits
    ) -> Answer:
        """One request to an address that the operator set.

        Raises:
            HttpError: there is no answer.
            AnswerCutError: it is too large, or comes too slowly.
        """

    def post(
        self,
        target: Target,
        address: Address,
        headers: Mapping[str, str],
        body: bytes,
        *,
        connect_seconds: float,
        seconds: float,
    ) -> Answer:
        """One POST to an address that was checked; the answer's body is not read.

        The name of the target is the one that the certificate must be of, and is not looked up.

        Args:
            connect_seconds: for the connection.
            seconds: for all of it.

        Raises:
            HttpError: there is no answer.
        """

    def resolve(self, host: str, seconds: float) -> Sequence[str]:
        """The addresses of a name, each once.

        Raises:
            TimeoutError: they were not found in time.
            OSError: there are none, or nobody could be asked.
        """
