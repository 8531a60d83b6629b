"""Callers whom the platform verified, where USHER_TRUST_PLATFORM says that it may vouch for them.

Only what the platform passes beside a request counts, never a header or a body. All others need a
bearer token, as anywhere. Roles are our records' own in any case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from usher.core.auth import Credentials, TrustedCaller, read_claims, token_of
from usher.core.errors import UnauthenticatedError
from usher.core.identity.platform import address_of
from usher.core.settings import API_GATEWAY, NETLIFY_V1, Settings

FUNCTION_URL: Final = ".lambda-url."
_TIMES: Final = ("exp", "nbf", "iat")
_TIME: Final = re.compile("[0-9]{1,15}")
_TEXTS: Final = ("sub", "email", "iss", "aud")
_MAPS: Final = ("app_metadata", "user_metadata")


def caller_of_gateway(event: Mapping[str, Any], settings: Settings) -> TrustedCaller | None:
    """The caller whose token a JWT authorizer of API Gateway verified; None: it vouches for nobody.

    A function URL has no such authorizer, and what a Lambda authorizer says is not a token's word.

    Args:
        event: of the Lambda function.
    """
    if settings.trust_platform != API_GATEWAY:
        return None
    claims = _claims_of(event)
    return None if claims is None else _caller(_as_numbers(claims), settings)


def caller_of_netlify(
    client_context: object, authorization: Sequence[str], now: float, settings: Settings
) -> TrustedCaller | None:
    """The caller whose token Netlify verified for a Lambda-compatible function; None: nobody.

    The token of the request must be the same person's. So a cookie, which a browser sends with
    other sites' requests as well, makes nobody a caller.

    Args:
        client_context: ``context.clientContext`` of the invocation.
        authorization: values of all Authorization headers.
        now: seconds since the epoch.
    """
    if settings.trust_platform != NETLIFY_V1 or not isinstance(client_context, Mapping):
        return None
    claims = client_context.get("user")
    if not isinstance(claims, Mapping) or not authorization:
        return None
    try:
        sent = read_claims(token_of(Credentials(authorization, None)), now)
    except UnauthenticatedError:
        return None
    return _caller(claims, settings) if sent.get("sub") == claims.get("sub") else None


def _claims_of(event: Mapping[str, Any]) -> Mapping[str, Any] | None:
    about = _map(event.get("requestContext"))
    if FUNCTION_URL in str(about.get("domainName", "")):
        return None
    authorizer, version = _map(about.get("authorizer")), event.get("version")
    if version == "2.0":
        found = _map(authorizer.get("jwt")).get("claims")
    else:
        # A Lambda authorizer's own words stand in the same place, beside others or alone.
        rest = set(authorizer) - {"claims"}
        if rest != {"scopes"} and (rest or version is not None):
            return None
        found = authorizer.get("claims")
    return found if isinstance(found, Mapping) else None


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _as_numbers(claims: Mapping[str, Any]) -> dict[str, Any]:
    """The claims with their types: API Gateway writes each as a text, a list as ``[a b]``."""
    found = dict(claims)
    for name in _TIMES:
        if isinstance(found.get(name), str) and _TIME.fullmatch(found[name]):
            found[name] = int(found[name])
    audience = found.get("aud")
    if isinstance(audience, str) and audience.startswith("["):
        found["aud"] = audience.strip("[]").split()
    return found


def _caller(claims: Mapping[str, Any], settings: Settings) -> TrustedCaller | None:
    issuer, ours = claims.get("iss"), settings.identity_url
    if ours and isinstance(issuer, str):
        address = address_of(issuer)
        if address is not None and address != address_of(ours):
            return None  # somebody else's Identity
    kept = {name: claims[name] for name in (*_TEXTS, *_TIMES, "sha256") if name in claims}
    kept |= {name: claims[name] for name in _MAPS if isinstance(claims.get(name), Mapping)}
    return TrustedCaller(kept)
