"""How Identity's admin API is reached: the seam for it, and the way over HTTP.

Every call has a time limit and reads a bounded answer. Nothing follows a redirect: a token must
not travel on. Nothing here retries; ``usher.core.identity.client`` knows which calls can be
repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

import urllib3

from usher.core.errors import IdentityUnavailableError
from usher.core.jws import sign_compact
from usher.core.strict_json import StrictJsonError, dumps, loads_object

CONNECT_SECONDS: Final = 2.0
READ_SECONDS: Final = 4.0
ADMIN_READ_SECONDS: Final = 8.0
"""Identity answers a change only after its event was delivered, which can be tried three times."""
BODY_SECONDS: Final = 4.0
MAX_ANSWER_BYTES: Final = 1_048_576
MAX_PAGE_BYTES: Final = 33_554_432
"""Of a page of users: a thousand, each with as much metadata as an event can carry."""
SYSTEM_SUBJECT: Final = UUID(int=0)
"""Identity takes a token of this subject for one of its own system (GoTrue api/auth.go)."""
SYSTEM_TOKEN_SECONDS: Final = 60
_SYSTEM_HEADER: Final = b'{"alg":"HS256","typ":"JWT"}'
_PIECE_BYTES: Final = 65_536


class AdminAnswer(NamedTuple):
    """What an admin call was answered: header names in lower case, the body's JSON object.

    The document is empty where an error, or a 204, came without one.
    """

    status: int
    headers: Mapping[str, str]
    document: dict[str, Any]


class AdminTransport(Protocol):
    """A way to Identity's admin API that brings its own credentials."""

    def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        """One call.

        Args:
            path: below Identity's base address, with its query: ``/admin/users?page=1``.

        Raises:
            IdentityUnavailableError: it could not be reached, or answered no JSON object.
        """


class BoundedHttp:
    """HTTP to one base address, without a slash at its end."""

    def __init__(self, url: str, read_seconds: float | None = None) -> None:
        self._url = url
        read = READ_SECONDS if read_seconds is None else read_seconds
        self._pool = urllib3.PoolManager(
            num_pools=2,
            maxsize=8,
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
            IdentityUnavailableError: away, slow, or a good answer that is no JSON object.
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
                octets = _read(answer, time.monotonic() + BODY_SECONDS, limit_bytes)
            finally:
                # Before it is released: a connection with a rest on it must serve nobody else.
                answer.close()
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            # Its message may hold an address; the kind of the failure says enough.
            raise IdentityUnavailableError(
                f"Identity could not be reached: {type(error).__name__}."
            ) from None
        if octets is None:
            raise IdentityUnavailableError(f"Identity answered {what} without end.")
        found = {name.lower(): value for name, value in answer.headers.items()}
        try:
            return AdminAnswer(answer.status, found, loads_object(octets))
        except StrictJsonError:
            if answer.status == 200:
                raise IdentityUnavailableError(
                    f"Identity answered {what} with no JSON object."
                ) from None
            return AdminAnswer(answer.status, found, {})


class HttpTransport:
    """Identity's admin API over HTTP, with a bearer token.

    Args:
        token: gives the token for a call; it is never kept here, logged, or put into an error.
    """

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self._http = BoundedHttp(url, ADMIN_READ_SECONDS)
        self._token = token

    def request(self, method: str, path: str, body: Mapping[str, Any] | None) -> AdminAnswer:
        """See ``AdminTransport``."""
        headers = {"Authorization": f"Bearer {self._token()}"}
        limit = MAX_PAGE_BYTES if path.startswith("/admin/users?") else MAX_ANSWER_BYTES
        return self._http.request(method, path, headers, body, limit)


def system_token(secret: bytes, audience: str | None, now: float) -> str:
    """A token of Identity's own system, good for a minute.

    Args:
        secret: what signs access tokens.
        audience: whose accounts are meant; None: those without any.
        now: seconds since the epoch.
    """
    claims = {
        "exp": int(now) + SYSTEM_TOKEN_SECONDS,
        "sub": str(SYSTEM_SUBJECT),
        "aud": audience or "",
    }
    return sign_compact(_SYSTEM_HEADER, dumps(claims).encode(), secret)


def _read(answer: urllib3.BaseHTTPResponse, deadline: float, limit_bytes: int) -> bytes | None:
    """The body; None where it is too large, or comes too slowly to be waited for.

    urllib3's own limit is for each piece: one byte a second would never meet it.
    """
    octets = bytearray()
    while piece := answer.read1(_PIECE_BYTES):
        octets += piece
        if len(octets) > limit_bytes or time.monotonic() > deadline:
            return None
    return bytes(octets)
