"""CORS for the API: an allow-list of origins, never ``*``, never with cookies."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from usher.functions._shared.http import Request, Response

MAX_AGE_SECONDS: Final = 600
ALLOWED_HEADERS: Final = "Authorization, Content-Type, If-Match"
EXPOSED_HEADERS: Final = "ETag, Link, Location"
VARY: Final = {"Vary": "Origin"}
"""On every answer, since the right to read it depends on the page's origin."""


def cors_headers(request: Request, allowed_origins: Collection[str]) -> dict[str, str]:
    """Return the headers of every answer; the origin only where it is on the list."""
    headers = dict(VARY)
    origin = request.headers.get("origin", ())
    if len(origin) == 1 and origin[0] in allowed_origins:
        headers["Access-Control-Allow-Origin"] = origin[0]
        headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    return headers


def preflight(
    request: Request, methods: Iterable[str], allowed_origins: Collection[str]
) -> Response:
    """Answer OPTIONS with the path's methods and, for an origin on the list, CORS permissions."""
    listed = ", ".join(methods)
    headers = {"Allow": listed}
    asks = "access-control-request-method" in request.headers
    if asks and "Access-Control-Allow-Origin" in cors_headers(request, allowed_origins):
        headers |= {
            "Access-Control-Allow-Methods": listed,
            "Access-Control-Allow-Headers": ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(MAX_AGE_SECONDS),
        }
    return Response(204, headers=headers)
