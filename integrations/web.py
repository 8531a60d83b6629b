"""Requests and refusals as ASGI and WSGI have them; every framework here stands on one of the two.

See the ASGI specification, "HTTP & WebSocket", and PEP 3333.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from usher.core.errors import UsherError
from usher.functions._shared.http import problem_response
from usher.integrations.guard import Visit

Scope = MutableMapping[str, Any]


def visit_of_scope(scope: Scope) -> Visit:
    """The request of an ASGI scope."""

    def values(name: bytes) -> tuple[str, ...]:
        headers = scope.get("headers", ())
        return tuple(value.decode("latin-1") for each, value in headers if each.lower() == name)

    peer = scope.get("client")
    return Visit(
        # The page of another site can open a WebSocket, with cookies, and read and write.
        scope["method"] if scope["type"] == "http" else "",
        values(b"authorization"),
        values(b"cookie"),
        values(b"x-forwarded-for"),
        peer[0] if peer else "",
    )


def visit_of_environ(environ: Mapping[str, Any]) -> Visit:
    """The request of a WSGI environment, in which a server has joined repeated headers."""

    def values(name: str) -> tuple[str, ...]:
        return (environ[name],) if name in environ else ()

    return Visit(
        environ.get("REQUEST_METHOD", ""),
        values("HTTP_AUTHORIZATION"),
        values("HTTP_COOKIE"),
        values("HTTP_X_FORWARDED_FOR"),
        environ.get("REMOTE_ADDR", ""),
    )


def refusal(error: UsherError) -> tuple[int, dict[str, str], str]:
    """The answer that refuses a caller: status, headers, and problem details as the body."""
    answer = problem_response(error)
    headers = {"Content-Type": answer.content_type, "Cache-Control": "no-store", **answer.headers}
    return answer.status, headers, answer.body
