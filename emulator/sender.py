"""Sending an event as Identity does: one signature, three attempts of five seconds.

Source: docs/identity.md, "What the sender does with the answer".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from time import monotonic, perf_counter
from typing import Final
from urllib.parse import urljoin
from uuid import UUID

import urllib3

from usher.core.jws import sign_event

ATTEMPTS: Final = 3
TIMEOUT_SECONDS: Final = 5.0
SUCCESS: Final = (200, 202, 204)
MAX_ANSWER_BYTES: Final = 1_048_576
_PIECE_BYTES: Final = 65_536
_CLIENT = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
"""The headers that Go's client adds by itself."""
MAX_REDIRECTS: Final = 10
_REDIRECTS_AS_GET: Final = (301, 302, 303)
_REDIRECTS: Final = (*_REDIRECTS_AS_GET, 307, 308)


class Failure(Enum):
    """The reason why an attempt brought no answer."""

    NONE = ""
    TIME_OUT = "time_out"
    NOT_CONNECTED = "not_connected"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of one attempt; ``error`` is set when no answer came."""

    number: int
    status: int = 0
    body: bytes = b""
    content_type: str = ""
    error: str = ""
    duration_ms: float = 0.0
    failure: Failure = Failure.NONE

    @property
    def accepted(self) -> bool:
        """Whether Identity goes on with the signup or login."""
        return self.status in SUCCESS


def signed_headers(
    event: str,
    body: bytes,
    instance_id: UUID,
    issued_at: int,
    secret: bytes,
    *,
    triggered: bool = False,
) -> dict[str, str]:
    """The headers of an event request; without a secret there is no signature.

    Args:
        triggered: say in a signed claim that this is no live event.
    """
    headers = {"Content-Type": "application/json"}
    if secret:
        headers["X-Webhook-Signature"] = sign_event(
            body, instance_id, issued_at, secret, triggered=triggered
        )
    return headers | {"X-Netlify-Event": f"identity_{event}"}


def send(
    url: str, body: bytes, headers: dict[str, str], timeout_seconds: float | None = None
) -> Iterator[Attempt]:
    """Make the attempts, each as it happens; ends after the first that is accepted.

    Args:
        timeout_seconds: of each attempt, its whole answer included; None: ``TIMEOUT_SECONDS``.
    """
    limit = TIMEOUT_SECONDS if timeout_seconds is None else timeout_seconds
    with urllib3.PoolManager(retries=False) as pool:
        for number in range(1, ATTEMPTS + 1):
            attempt = _attempt(pool, number, url, body, headers, limit)
            yield attempt
            again = attempt.failure in (Failure.NONE, Failure.TIME_OUT)  # the rest is final
            if attempt.accepted or not again:
                return


def _attempt(
    pool: urllib3.PoolManager,
    number: int,
    url: str,
    body: bytes,
    headers: dict[str, str],
    limit: float,
) -> Attempt:
    started = perf_counter()
    try:
        answer, octets = _follow(pool, url, body, headers, limit)
    except urllib3.exceptions.HTTPError as error:
        return Attempt(
            number,
            error=_worded(url, error, limit),
            duration_ms=_since(started),
            failure=_kind(error),
        )
    return Attempt(
        number,
        answer.status,
        octets,
        answer.headers.get("Content-Type", ""),
        duration_ms=_since(started),
    )


def _follow(
    pool: urllib3.PoolManager, url: str, body: bytes, headers: dict[str, str], limit: float
) -> tuple[urllib3.BaseHTTPResponse, bytes]:
    """The last answer and its body, redirects followed as Go's client does, all in one limit."""
    deadline = monotonic() + limit
    method, content = "POST", body
    for _ in range(MAX_REDIRECTS):
        answer = pool.request(
            method,
            url,
            body=content or None,
            headers=_CLIENT | headers,
            timeout=max(deadline - monotonic(), 0.001),
            redirect=False,
            preload_content=False,
        )
        try:
            octets = _read(answer, deadline)
        finally:
            answer.close()
            answer.release_conn()
        target = answer.headers.get("Location", "")
        if answer.status not in _REDIRECTS or not target:
            return answer, octets
        if answer.status in _REDIRECTS_AS_GET:
            method, content = "GET", b""
        url = urljoin(url, target)
    raise urllib3.exceptions.ProtocolError(f"stopped after {MAX_REDIRECTS} redirects")


def _read(answer: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """The body, unpacked, as far as there is time: urllib3's own limit is for each piece of it."""
    octets = bytearray()
    while piece := answer.read1(_PIECE_BYTES):
        octets += piece
        if len(octets) > MAX_ANSWER_BYTES:
            raise urllib3.exceptions.ProtocolError("the answer is too large")
        if monotonic() > deadline:
            raise urllib3.exceptions.TimeoutError("the answer takes too long")
    return bytes(octets)


def _kind(error: Exception) -> Failure:
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return Failure.NOT_CONNECTED
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return Failure.TIME_OUT
    if isinstance(error, urllib3.exceptions.LocationValueError):
        return Failure.NOT_CONNECTED
    return Failure.BROKEN


def _worded(url: str, error: Exception, limit: float) -> str:
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return f"nothing answers at {url}; is the server running (make run)?"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return f"no answer within {limit:g} s"
    return f"the connection failed: {type(error).__name__}"


def _since(started: float) -> float:
    return round((perf_counter() - started) * 1000, 1)
