"""``usher dev`` is for this machine's own pages: its ``Host``, its forms, and whom CORS lets read.

A page of another site can make a browser send requests here. A name that such a site makes point
at this machine (DNS rebinding) would let it read the answers as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from usher.core.errors import RequestError, StrangePageError
from usher.functions._shared.http import Request, Response

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{0,5})?", re.ASCII)
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?", re.ASCII)
_READS: Final = ("GET", "HEAD", "OPTIONS")
_OWN_FETCHES: Final = ("same-origin", "none")
_CORS: Final = "access-control-"


def require_host(hosts: Sequence[str], http_version: str) -> None:
    """Insist on one well-formed ``Host`` (RFC 9112, 3.2); HTTP/1.0 may leave it out.

    Raises:
        RequestError
    """
    if not hosts and http_version in ("1", "1.0"):
        return
    if len(hosts) != 1:
        raise RequestError("The request must have one Host header.")
    if not _HOST.fullmatch(hosts[0]):
        raise RequestError("The Host header names no host.")


def is_loopback_host(host: str) -> bool:
    """Whether a ``Host`` header names this machine by an address or a name nobody can redirect.

    That is ``localhost`` and what is below it (RFC 6761, 6.3), and loopback addresses.
    """
    found = _AUTHORITY.fullmatch(host)
    if found is None:
        return False
    name = found[1].lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


def is_loopback_origin(origin: str) -> bool:
    """Whether a page of this machine asks, on whatever port."""
    scheme, separator, host = origin.partition("://")
    return separator != "" and scheme in ("http", "https") and is_loopback_host(host)


def require_own_page(request: Request, *, any_host: bool = False) -> None:
    """Insist on a local ``Host``, and on a page of this machine where something may change.

    A program sends neither ``Sec-Fetch-Site`` nor ``Origin`` and passes. A browser sends the first
    with every request to this machine, and cannot be made to leave it out.

    Args:
        any_host: the request is signed and comes through a tunnel; its ``Host`` is the tunnel's.

    Raises:
        StrangePageError
    """
    hosts = request.headers.get("host", ())
    if not any_host and (len(hosts) != 1 or not is_loopback_host(hosts[0])):
        raise StrangePageError("Open this by localhost or 127.0.0.1; no other name is answered.")
    if request.method in _READS:
        return
    fetched = request.headers.get("sec-fetch-site", ())
    if len(fetched) == 1 and fetched[0] in _OWN_FETCHES:
        return
    origins = request.headers.get("origin", ())
    ours = len(origins) == 1 and is_loopback_origin(origins[0])
    if not ours and (fetched or origins):
        raise StrangePageError("Another site's page may not do this.")


def for_own_pages(request: Request, response: Response) -> Response:
    """The answer, readable by pages of this machine and by no other."""
    kept = {
        name: value
        for name, value in response.headers.items()
        if not name.lower().startswith(_CORS)
    }
    origins = request.headers.get("origin", ())
    if len(kept) == len(response.headers) or (len(origins) == 1 and is_loopback_origin(origins[0])):
        return response
    return Response(response.status, response.body, response.content_type, kept)
