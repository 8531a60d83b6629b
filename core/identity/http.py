"""Transports to Identity's admin API: the protocol, and the one over HTTP.

Every call has a time limit and a bounded answer. Redirects are not followed, so that no token
travels on. Retries are up to ``usher.core.identity.client``, which knows the idempotent calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from usher.core.bounds import MAX_MAP_BYTES
from usher.core.errors import (
    IdentityAnswerTooLargeError,
    IdentityUnavailableError,
    UsherError,
)
from usher.core.http.interface import AnswerCutError, Http, HttpError, Limits
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
    """JSON over HTTP to one base address.

    Args:
        url: without a slash at its end.
        http: sends the requests; None: over sockets of this process.
        read_seconds: longest wait for a piece of an answer; None: ``READ_SECONDS``.
        body_seconds: longest time for a whole body; None: ``BODY_SECONDS``.
    """

    def __init__(
        self,
        url: str,
        http: Http | None = None,
        read_seconds: float | None = None,
        body_seconds: float | None = None,
    ) -> None:
        self._url = url
        self._http = http or _native()
        self._read_seconds = READ_SECONDS if read_seconds is None else read_seconds
        self._body_seconds = BODY_SECONDS if body_seconds is None else body_seconds

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
        octets = None if body is None else dumps(body).encode()
        limits = Limits(
            CONNECT_SECONDS, self._read_seconds, self._body_seconds, limit_bytes, _START_BYTES
        )
        try:
            answer = self._http.request(method, self._url + path, sent, octets, limits)
        except HttpError as error:
            raise IdentityUnavailableError(
                f"Identity could not be reached: {error.detail}."
            ) from None
        except AnswerCutError as error:
            raise _cut(error, what, limits) from None
        if answer.status == 200 and not looks_like_object(answer.body):
            raise IdentityUnavailableError(f"Identity answered {what} with no JSON object.")
        return AdminAnswer(answer.status, answer.headers, answer.body)


def _native() -> Http:
    from usher.core.http.native import NativeHttp  # noqa: PLC0415 - Netlify has no sockets

    return NativeHttp()


class HttpTransport:
    """Identity's admin API over HTTP, with a bearer token.

    Args:
        url: base address, without a slash at its end.
        token: gives the token for each call. It is never kept, logged, or put into an error.
        http: sends the requests.
    """

    def __init__(self, url: str, token: Callable[[], str], http: Http | None = None) -> None:
        self._http = BoundedHttp(url, http, ADMIN_READ_SECONDS, ADMIN_BODY_SECONDS)
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


def _cut(error: AnswerCutError, what: str, limits: Limits) -> UsherError:
    """The error for an answer that was not read to its end."""
    if not error.late:
        said = f"Identity answered {what} with over {limits.body_bytes} bytes."
    else:
        said = f"Identity's answer to {what} had no end after {limits.body_seconds:g} seconds."
        if error.received <= MAX_ANSWER_BYTES:
            return IdentityUnavailableError(said)
    return IdentityAnswerTooLargeError(said, error.start)
