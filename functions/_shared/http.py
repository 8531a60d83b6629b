"""HTTP inside Usher: a Request, answered by a Response.

A platform's dict exists at its edge only: ``Request.from_event`` reads it, ``Response.to_dict``
makes it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import cache
from time import perf_counter, sleep
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from msgspec import Struct, field
from msgspec.structs import replace

from usher.core.domain.problem import CONTENT_TYPE, as_problem
from usher.core.errors import (
    BodyTooLargeError,
    MethodNotAllowedError,
    RequestError,
    SignatureError,
    TooManyRequestsError,
    UnsupportedMediaTypeError,
    UsherError,
)
from usher.core.strict_json import dumps
from usher.functions._shared.headers import SECURITY_HEADERS

MAX_PARAMETERS: Final = 50

Event = Mapping[str, Any]
"""A request as Netlify's functions get it, and as API Gateway's payload format 1.0 has it."""


class Request(Struct, frozen=True):
    """One HTTP request.

    Attributes:
        headers: all values of each header, by lower-case name, in the order received.
        body: the exact bytes.
        query: the text after the question mark, still encoded.
    """

    method: str
    path: str
    headers: Mapping[str, tuple[str, ...]]
    body: bytes
    query: str = ""

    @classmethod
    def from_event(cls, event: Event) -> Request:
        """Read a platform's event.

        Raises:
            RequestError: the body is not valid base64, but is said to be.
        """
        method = str(event.get("httpMethod", ""))
        return cls(
            method=method,
            path=str(event.get("path", "")),
            headers=_headers(event),
            body=read_body(event, method),
            query=_query(event),
        )

    def parameters(self) -> list[tuple[str, str]]:
        """Return (name, value) of each query parameter, in the order received.

        Raises:
            RequestError: the query is not UTF-8, or has more than ``MAX_PARAMETERS``.
        """
        try:
            return parse_qsl(
                self.query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
            )
        except ValueError:  # UnicodeDecodeError is one
            raise RequestError("The query is not UTF-8 text, or has too many parameters.") from None

    def require_size(self, max_body_bytes: int) -> None:
        """Check the body's size; a server does so before it reads a body whole.

        Raises:
            BodyTooLargeError: the body has more bytes.
        """
        if len(self.body) > max_body_bytes:
            raise BodyTooLargeError(max_body_bytes)

    def require_method(self, method: str) -> None:
        """Check the method.

        Raises:
            MethodNotAllowedError: it is another one.
        """
        if self.method != method:
            raise MethodNotAllowedError(self.method, (method,))

    def require_json(self, *also: str) -> None:
        """Check that the body's media type is JSON, or one of the further types.

        Raises:
            UnsupportedMediaTypeError: it is another type, none, or given twice.
        """
        types = self.headers.get("content-type", ())
        media = types[0].partition(";")[0].strip().lower() if len(types) == 1 else ""
        if media != "application/json" and media not in also:
            raise UnsupportedMediaTypeError(",".join(types))


class Later(Struct, frozen=True):
    """A better answer may come soon; a runtime that can wait asks again.

    Attributes:
        seconds: the caller waits so long.
        after: the place in the feed after which a change is waited for.
        kinds: patterns of its kind.
        caller: the name of the caller.
        again: makes the answer anew, once there is one.
    """

    seconds: float
    after: int
    kinds: frozenset[str]
    caller: str
    again: Callable[[], Response]


class Response(Struct, frozen=True):
    """One HTTP answer; ``all_headers`` adds the security headers.

    Attributes:
        due_seconds: time from the request's receipt at which it is sent; 0: at once.
        later: how to wait for another answer; None: this is the one.
    """

    status: int
    body: str = ""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    due_seconds: float = 0
    later: Later | None = None

    def seconds_left(self, received: float, clock: Callable[[], float] = perf_counter) -> float:
        """Return the time until it is due; ``received`` is the clock's value at the receipt."""
        return max(0.0, received + self.due_seconds - clock()) if self.due_seconds else 0.0

    def with_headers(self, headers: Mapping[str, str]) -> Response:
        """Return a copy with further headers, which win over its own."""
        return replace(self, headers={**self.headers, **headers})

    def all_headers(self) -> dict[str, str]:
        """Return the headers to send: the security headers, its own, and Content-Type."""
        headers = {**SECURITY_HEADERS, **self.headers}
        if self.content_type:
            headers["Content-Type"] = self.content_type
        return headers

    def header_list(self) -> list[tuple[str, str]]:
        """Return ``all_headers`` as pairs; the list is not to be changed."""
        return list(self.all_headers().items()) if self.headers else _usual(self.content_type)

    def body_for(self, method: str) -> str:
        """Return the body to send: none for HEAD, which gets only the headers of GET."""
        return "" if method == "HEAD" else self.body

    def to_dict(self, method: str = "GET") -> dict[str, Any]:
        """Return the answer to a request with this method, as Netlify and Lambda want it."""
        return {
            "statusCode": self.status,
            "headers": self.all_headers(),
            "body": self.body_for(method),
            "isBase64Encoded": False,
        }


@cache  # there are four types
def _usual(content_type: str) -> list[tuple[str, str]]:
    return list(Response(200, "", content_type).all_headers().items())


def hold(
    response: Response,
    received: float,
    clock: Callable[[], float] = perf_counter,
    pause: Callable[[float], None] = sleep,
) -> Response:
    """Wait until a response is due; for runtimes with one request to a thread.

    Args:
        received: the clock's value at the request's receipt.
    """
    if left := response.seconds_left(received, clock):
        pause(left)
    return response


def problem_response(error: UsherError) -> Response:
    """Render an error as problem details (RFC 9457); no other code renders errors."""
    headers = {}
    if isinstance(error, MethodNotAllowedError):
        headers["Allow"] = ", ".join(error.allow)
    if error.status == 401 and not isinstance(error, SignatureError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, TooManyRequestsError):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if error.status == 503:
        headers["Retry-After"] = "1"
    return Response(error.status, dumps(as_problem(error)), CONTENT_TYPE, headers)


def _headers(event: Event) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, values in (event.get("multiValueHeaders") or {}).items():
        found[name.lower()] = found.get(name.lower(), ()) + tuple(values)
    for name, value in (event.get("headers") or {}).items():
        found.setdefault(name.lower(), (value,))
    return found


def _query(event: Event) -> str:
    raw = event.get("rawQuery")
    if raw is not None:
        return str(raw)
    many = event.get("multiValueQueryStringParameters")
    if many is not None:
        return urlencode(many, doseq=True)
    return urlencode(event.get("queryStringParameters") or {})


def read_body(event: Event, method: str) -> bytes:
    """Return the exact bytes of the body in any platform's event.

    Raises:
        RequestError: the body is not valid base64, but is said to be.
    """
    body = event.get("body")
    # With these methods a body has no meaning (RFC 9110, 9.3.1), and the server reads none.
    if body is None or method in ("GET", "HEAD"):
        return b""
    if not event.get("isBase64Encoded"):
        return str(body).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("The platform passed a base64 body that is none.") from None
