"""Making tokens by hand, with the standard library and none of the code under test."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode

from tests.support import SECRET
from usher.emulator.payload import ZERO_INSTANCE

HEADER = b'{"alg":"HS256","typ":"JWT"}'
STRANGER = b"another secret of thirty-two byte"
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def encode(octets: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def seal(header: str, payload: str, secret: bytes = SECRET, digest: str = "sha256") -> str:
    """The two texts, whatever they are, with a good signature over exactly them."""
    text = f"{header}.{payload}"
    return f"{text}.{encode(hmac.digest(secret, text.encode(), digest))}"


def token(payload: bytes, header: bytes = HEADER, secret: bytes = SECRET) -> str:
    """A compact JWS over any octets."""
    return seal(encode(header), encode(payload), secret)


def claims(body: bytes, now: int, **changed: str | None) -> bytes:
    """Identity's claims for ``body``; a named one as this JSON text instead, None: left out."""
    texts: dict[str, str | None] = {
        "iss": '"gotrue"',
        "sub": f'"{ZERO_INSTANCE}"',
        "iat": str(now),
        "sha256": f'"{hashlib.sha256(body).hexdigest()}"',
    }
    members = [f'"{k}":{v}' for k, v in (texts | changed).items() if v is not None]
    return ("{" + ",".join(members) + "}").encode()


def good(body: bytes, now: int) -> str:
    """The token that Identity would send."""
    return token(claims(body, now))


def sized(body: bytes, now: int, characters: int) -> str:
    """A good token of exactly this length."""
    room = (characters - len(encode(HEADER)) - 45) * 3 // 4
    filler = room - len(claims(body, now, x='""'))
    made = token(claims(body, now, x=f'"{"x" * filler}"'))
    assert len(made) == characters
    return made


def unused_bit(segment: str) -> str:
    """The same octets in another spelling: one of the bits set that stand for nothing."""
    assert len(segment) % 4, "no unused bits"
    return segment[:-1] + ALPHABET[ALPHABET.index(segment[-1]) | 1]
