"""HTTP as everything inside sees it: a Request, answered by a Response.

A platform's dict exists at its edge only: ``Request.from_event`` reads it, ``Response.to_dict``
makes it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

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
"""A request in the form of Netlify's functions, and of API Gateway's payload format 1.0."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        headers: every value of each header, by lower-case name, in the order received.
        body: the exact bytes.
        query: what follows the question mark, still encoded.
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
            RequestError: a base64 body that is none.
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
        """Name and value of each query parameter, in the order received.

        Raises:
            RequestError: the query is no text, or has too many parameters.
        """
        try:
            return parse_qsl(
                self.query, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS
            )
        except ValueError:  # UnicodeDecodeError is one
            raise RequestError("The query is not UTF-8 text, or has too many parameters.") from None

    def require_size(self, max_body_bytes: int) -> None:
        """Insist on a body within the cap; a server does so before it reads one whole.

        Raises:
            BodyTooLargeError
        """
        if len(self.body) > max_body_bytes:
            raise BodyTooLargeError(max_body_bytes)

    def require_method(self, method: str) -> None:
        """Insist on the method.

        Raises:
            MethodNotAllowedError
        """
        if self.method != method:
            raise MethodNotAllowedError(self.method, (method,))

    def require_json(self, *also: str) -> None:
        """Insist on JSON, or one of the further media types.

        Raises:
            UnsupportedMediaTypeError
        """
        types = self.headers.get("content-type", ())
        media = types[0].partition(";")[0].strip().lower() if len(types) == 1 else ""
        if media != "application/json" and media not in also:
            raise UnsupportedMediaTypeError(",".join(types))


@dataclass(frozen=True, slots=True)
class Response:
    """One answer; the security headers are added when it goes out."""

    status: int
    body: str = ""
    content_type: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def with_headers(self, headers: Mapping[str, str]) -> Response:
        """The same with these headers, too; they win over its own."""
        return replace(self, headers={**self.headers, **headers})

    def all_headers(self) -> dict[str, str]:
        """The headers as they go out: the security headers, its own, and the type."""
        headers = {**SECURITY_HEADERS, **self.headers}
        if self.content_type:
            headers["Content-Type"] = self.content_type
        return headers

    def body_for(self, method: str) -> str:
        """The body as it goes out: HEAD gets all that GET has, but the body."""
        return "" if method == "HEAD" else self.body

    def to_dict(self, method: str = "GET") -> dict[str, Any]:
        """The answer to a request with this method, as Netlify and Lambda want it."""
        return {
            "statusCode": self.status,
            "headers": self.all_headers(),
            "body": self.body_for(method),
            "isBase64Encoded": False,
        }


def problem_response(error: UsherError) -> Response:
    """The one way in which an error becomes an answer."""
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
    """The exact bytes of an event's body, whatever else the platform's event looks like.

    Raises:
        RequestError: a base64 body that is none.
    """
    body = event.get("body")
    # A body with these has no meaning (RFC 9110, 9.3.1), and the server reads none.
    if body is None or method in ("GET", "HEAD"):
        return b""
    if not event.get("isBase64Encoded"):
        return str(body).encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise RequestError("The platform passed a base64 body that is none.") from None
