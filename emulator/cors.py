"""Cross-origin requests. Source: GoTrue ``api/api.go``, which uses ``github.com/rs/cors``."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from usher.functions._shared.http import Request, Response

METHODS: Final = ("GET", "POST", "PUT", "DELETE")
HEADERS: Final = (
    "accept", "authorization", "content-type", "origin", "x-jwt-aud", "x-use-cookie",
)  # fmt: skip
"""The request headers of other origins; ``X-Nf-Client`` is not among them."""
_ALLOWED: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Credentials": "true",
}
_WANTED_METHOD: Final = "access-control-request-method"
_WANTED_HEADERS: Final = "access-control-request-headers"


def is_preflight(request: Request) -> bool:
    """Whether a browser asks before it sends; any other OPTIONS goes to the router."""
    return request.method == "OPTIONS" and bool(_first(request, _WANTED_METHOD))


def preflight(request: Request) -> Response:
    """The answer to a preflight: nothing is allowed unless the whole question is."""
    method, headers = _first(request, _WANTED_METHOD).upper(), _first(request, _WANTED_HEADERS)
    names = [name.strip().lower() for name in headers.split(",") if name.strip()]
    if method not in METHODS or not set(names) <= set(HEADERS):
        return Response(204)
    allowed = {"Access-Control-Allow-Methods": method}
    if names:
        allowed["Access-Control-Allow-Headers"] = headers
    return Response(204, headers=allowed)


def shared(request: Request, response: Response) -> Response:
    """The response with the headers that let another origin read it."""
    refused = is_preflight(request) and "Access-Control-Allow-Methods" not in response.headers
    allowed = _ALLOWED if _first(request, "origin") and not refused else {}
    return replace(response, headers={"Vary": "Origin", **allowed, **response.headers})


def _first(request: Request, name: str) -> str:
    return next(iter(request.headers.get(name, ())), "")
