"""Verify what Netlify signs when it passes a request on from the site (``x-nf-sign``). Pure.

A rewrite with ``signed`` in Netlify's configuration adds a compact JWS, HS256: ``iss`` is
``netlify``, ``exp`` lies five minutes ahead, and the rest names site and deploy. It is not bound to
the request: it says that one came through the site, never who sent it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.errors import (
    ExpiryClaimError,
    IssuerClaimError,
    NotBeforeClaimError,
    NotThroughSiteError,
    SignatureError,
)
from core.jws import open_compact, the_signature

HEADER: Final = "x-nf-sign"
ISSUER: Final = "netlify"


def require_site(signatures: Sequence[str], secrets: Sequence[bytes], now: float) -> None:
    """Insist on a request that came through the site.

    Args:
        signatures: the values of every ``x-nf-sign`` header of the request.
        secrets: what may have signed, newest first; none: anybody may come directly.
        now: seconds since the epoch.

    Raises:
        NotThroughSiteError: with the check that failed as its ``reason``.
    """
    if not secrets:
        return
    try:
        _verify(signatures, secrets, now)
    except SignatureError as error:
        raise NotThroughSiteError(error.reason) from None


def _verify(signatures: Sequence[str], secrets: Sequence[bytes], now: float) -> None:
    claims, _ = open_compact(the_signature(signatures), secrets)
    if claims.get("iss") != ISSUER:
        raise IssuerClaimError
    expiry, not_before = claims.get("exp"), claims.get("nbf", now)
    if type(expiry) not in (int, float) or expiry <= now:  # type: ignore[operator]  # a number
        raise ExpiryClaimError
    if type(not_before) not in (int, float) or not_before > now:
        raise NotBeforeClaimError
