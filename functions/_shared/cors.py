"""Which pages of other sites may call the API: an allow-list, never ``*``, never with cookies."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from usher.functions._shared.http import Request, Response

MAX_AGE_SECONDS: Final = 600
ALLOWED_HEADERS: Final = "Authorization, Content-Type, If-Match"
EXPOSED_HEADERS: Final = "ETag, Link, Location"
VARY: Final = {"Vary": "Origin"}
"""Whether a page may read an answer hangs on the page, whatever the answer is."""


def cors_headers(request: Request, allowed_origins: Collection[str]) -> dict[str, str]:
    """What every answer carries; the origin only where it is on the list."""
    headers = dict(VARY)
    origin = request.headers.get("origin", ())
    if len(origin) == 1 and origin[0] in allowed_origins:
        headers["Access-Control-Allow-Origin"] = origin[0]
        headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
    return headers


def preflight(
    request: Request, methods: Iterable[str], allowed_origins: Collection[str]
) -> Response:
    """The answer to OPTIONS: what may be asked here, and for a page on the list, how."""
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
