"""Transports to Identity's admin API: the protocol, and the one over HTTP.

Every call has a time limit and a bounded answer. Redirects are not followed, so that no token
travels on. Retries are up to ``usher.core.identity.client``, which knows the idempotent calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import urllib3

from usher.core.bounds import MAX_MAP_BYTES
from usher.core.errors import IdentityAnswerTooLargeError, IdentityUnavailableError
from usher.core.jws import sign_compact
from usher.core.strict_json import StrictJsonError, dumps, loads_object

CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 4.0
ADMIN_READ_SECONDS: Final = 8.0
"""Identity answers a change after the delivery of its event, for which it makes three attempts."""
BODY_SECONDS: Final = 4.0
ADMIN_BODY_SECONDS: Final = 10.0
MAX_ANSWER_BYTES: Final = 1_048_576
MAX_ADMIN_ANSWER_BYTES: Final = 33_554_432
"""One account with as much metadata as an event can carry, or a page of several."""
SYSTEM_SUBJECT: Final = UUID(int=0)
"""Subject of the tokens of Identity's own system (GoTrue api/auth.go)."""
SYSTEM_TOKEN_SECONDS: Final = 60
_SYSTEM_HEADER: Final = b'{"alg":"HS256","typ":"JWT"}'
_PIECE_BYTES: Final = 65_536
_START_BYTES: Final = MAX_MAP_BYTES + 4_096
"""Kept of an answer that is too large: the id of its first account, and its ``app_metadata``."""


class AdminAnswer(NamedTuple):
    """An answer: its status, its headers by lower-case name, its body.

    The body of a 200 begins and ends as a JSON object does; its reader reads the rest.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body's JSON object; empty where it has none that can be read."""
        try:
            return loads_object(self.body)
        except StrictJsonError:
            return {}


class AdminTransport(Protocol):
    """A way to Identity's admin API that brings its own credentials."""

    def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        """One call.

        Args:
            path: below Identity's base address, with its query: ``/admin/users?page=1``.

        Raises:
            IdentityUnavailableError: Identity could not be reached, or answered 200 without a JSON
                object.
            IdentityAnswerTooLargeError: the answer is larger than is read.
        """


class BoundedHttp:
    """HTTP to one base address.

    Args:
        url: without a slash at its end.
        read_seconds: longest wait for a piece of an answer; None: ``READ_SECONDS``.
        body_seconds: longest time for a whole body; None: ``BODY_SECONDS``.
        connections: kept open at most.
    """

    def __init__(
        self,
        url: str,
        read_seconds: float | None = None,
        body_seconds: float | None = None,
        *,
        connections: int = 8,
    ) -> None:
        self._url = url
        self._body_seconds = BODY_SECONDS if body_seconds is None else body_seconds
        read = READ_SECONDS if read_seconds is None else read_seconds
        self._pool = urllib3.PoolManager(
            num_pools=2,
            maxsize=connections,
            retries=False,
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read),
        )

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        limit_bytes: int = MAX_ANSWER_BYTES,
    ) -> AdminAnswer:
        """One call with JSON both ways.

        Raises:
            IdentityUnavailableError: no answer, one too slow, or a 200 without a JSON object.
            IdentityAnswerTooLargeError: the answer has more than ``limit_bytes``, or more than came
                in time.
        """
        sent = {"Accept": "application/json", **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        what = f"{method} {path.partition('?')[0]}"
        try:
            answer = self._pool.request(
                method,
                self._url + path,
                headers=sent,
                body=None if body is None else dumps(body).encode(),
                redirect=False,
                preload_content=False,
            )
            try:
                octets = _read(answer, what, self._body_seconds, limit_bytes)
            finally:
                # Closed first: a connection with unread bytes must not be used again.
                answer.close()
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            # The error's message may hold an address; its type says enough.
            raise IdentityUnavailableError(
                f"Identity could not be reached: {type(error).__name__}."
            ) from None
        if answer.status == 200 and not looks_like_object(octets):
            raise IdentityUnavailableError(f"Identity answered {what} with no JSON object.")
        found = {name.lower(): value for name, value in answer.headers.items()}
        return AdminAnswer(answer.status, found, octets)


class HttpTransport:
    """Identity's admin API over HTTP, with a bearer token.

    Args:
        url: base address, without a slash at its end.
        token: gives the token for each call. It is never kept, logged, or put into an error.
    """

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self._http = BoundedHttp(url, ADMIN_READ_SECONDS, ADMIN_BODY_SECONDS)
        self._token = token

    def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        """See ``AdminTransport``."""
        headers = {"Authorization": f"Bearer {self._token()}"}
        return self._http.request(method, path, headers, body, MAX_ADMIN_ANSWER_BYTES)


def looks_like_object(body: bytes) -> bool:
    """Whether a body begins and ends as a JSON object does: no page of HTML, and not torn."""
    return body[:64].lstrip().startswith(b"{") and body[-64:].rstrip().endswith(b"}")


def system_token(secret: bytes, audience: str | None, now: float) -> str:
    """A token of Identity's own system, good for ``SYSTEM_TOKEN_SECONDS``.

    Args:
        secret: the secret that signs access tokens.
        audience: of the accounts that are meant; None: those without one.
        now: seconds since the epoch.
    """
    claims = {
        "exp": int(now) + SYSTEM_TOKEN_SECONDS,
        "sub": str(SYSTEM_SUBJECT),
        "aud": audience or "",
    }
    return sign_compact(_SYSTEM_HEADER, dumps(claims).encode(), secret)


def _read(answer: urllib3.BaseHTTPResponse, what: str, seconds: float, limit_bytes: int) -> bytes:
    """The body.

    urllib3's time limit holds for each piece. One byte a second would never meet it.
    """
    octets = bytearray()
    deadline = time.monotonic() + seconds
    while piece := answer.read1(_PIECE_BYTES):
        octets += piece
        said = ""
        if len(octets) > limit_bytes:
            said = f"Identity answered {what} with over {limit_bytes} bytes."
        elif time.monotonic() > deadline:
            said = f"Identity's answer to {what} had no end after {seconds:g} seconds."
            if len(octets) <= MAX_ANSWER_BYTES:
                raise IdentityUnavailableError(said)
        if said:
            raise IdentityAnswerTooLargeError(said, bytes(octets[:_START_BYTES]))
    return bytes(octets)
