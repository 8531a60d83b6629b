"""Access tokens as Identity signs them, and the check of one that is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from usher.core.errors import SignatureError
from usher.core.jws import open_compact, sign_compact
from usher.emulator.accounts import Record
from usher.emulator.errors import BearerError
from usher.emulator.payload import go_json, go_map

KEY_ID: Final = "nf-ident"
MAX_TOKEN_BYTES: Final = 65_536
_HEADER: Final = go_json({"alg": "HS256", "kid": KEY_ID, "typ": "JWT"})


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of a good access token that count."""

    subject: str
    audience: str

    @property
    def is_system(self) -> bool:
        """Whether it is nobody's, as Netlify's own admin tokens are."""
        return self.subject in ("0", str(UUID(int=0)))


def access_token(record: Record, expires_at: int, secret: bytes) -> str:
    """A user's access token; ``expires_at`` in seconds since the epoch.

    The claims stand in the order of jwt-go's RegisteredClaims; an empty audience is left out.
    """
    claims = {
        "sub": str(record.id),
        **({"aud": record.aud} if record.aud else {}),
        "exp": expires_at,
        "email": record.email,
        "app_metadata": go_map(record.app_metadata),
        "user_metadata": go_map(record.user_metadata),
    }
    return sign_compact(_HEADER, go_json(claims), secret)


def read_access_token(token: str, secret: bytes, now: float) -> Claims:
    """Check a bearer token.

    GoTrue takes any token that its secret signed, its own event signatures included, and their
    subject makes an administrator of anybody who shows one. Here those are refused.

    Raises:
        BearerError: 401.
    """
    claims = read_signed(token, secret, now)
    if claims.get("iss") == "gotrue" or "sha256" in claims:
        raise BearerError("Invalid token: this signs an event, it is no access token")
    subject, audience = claims.get("sub", ""), claims.get("aud", "")
    if not isinstance(subject, str) or not isinstance(audience, str):
        raise BearerError("Invalid token: sub and aud must be texts")
    return Claims(subject, audience)


def read_signed(token: str, secret: bytes, now: float) -> Mapping[str, Any]:
    """The claims of any token that this secret signed and that has not ended.

    Raises:
        BearerError: 401.
    """
    try:
        claims, _ = open_compact(token, (secret,), MAX_TOKEN_BYTES)
    except SignatureError:
        raise BearerError("Invalid token: signature is invalid") from None
    for name, ends in (("exp", True), ("nbf", False), ("iat", False)):
        value = claims.get(name)
        if value is None:
            continue
        if type(value) not in (int, float):
            raise BearerError(f"Invalid token: {name} is no number")
        if ends and value <= now:
            raise BearerError("Invalid token: token is expired")
        if not ends and value > now:
            raise BearerError("Invalid token: token is not valid yet")
    return claims
