"""Sign and verify compact JWS, HS256: Identity's events, and Netlify's site signatures. Pure.

Our own strict checks come first, since PyJWT alone accepts padding, duplicate claims and any
``typ``. PyJWT signs; what it computes to verify, an HMAC of the standard library, is computed here,
so that a secret is hashed once and not for every event. docs/security.md has the rules and their
order. Time is a parameter.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Callable, Sequence
from functools import lru_cache
from hmac import compare_digest
from typing import Any, Final, TypeVar
from uuid import UUID

from msgspec import Struct
from msgspec.json import Decoder

from usher.core.bounds import MAX_EVENT_TOKEN_BYTES
from usher.core.errors import Check, NotThroughSiteError, SignatureError
from usher.core.strict_json import StrictJsonError, dumps, loads_object, read_exactly
from usher.core.texts import read_uuid, uuid_text

T = TypeVar("T")
ISSUER: Final = "gotrue"
REPLAY_CLAIM: Final = "usher_replay"
TRIGGER_CLAIM: Final = "usher_trigger"
MIN_SECRET_BYTES: Final = 32
PUBLIC_SECRET: Final = b"usher captures are signed with this public secret"
"""Signs captures, so that they pass the whole verification in a replay; everybody knows it, and no
setting may be it."""
SITE_HEADER: Final = "x-nf-sign"
SITE_ISSUER: Final = "netlify"

_REFUSED_HEADERS = frozenset({"crit", "b64", "zip"})
_ALGORITHM_HEADER = {"alg": "HS256", "typ": "JWT"}  # jwt-go writes a map: keys sorted
_ALGORITHM_SEGMENT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
"""The same, encoded: the header of every event."""
_FROM_URL = bytes.maketrans(b"-_+/=", b"+/!!!")
"""To the standard alphabet; what is of that one alone is of none."""
_PADDING = (b"", b"", b"==", b"=")
_LAST = (None, None, b"AQgw", b"AEIMQUYcgkosw048")
"""By the length modulo 4: the last characters whose unused bits are zero."""


class Tolerance(Struct, frozen=True, gc=False):
    """How far ``iat`` may lie from now, in seconds."""

    back_seconds: int = 300
    ahead_seconds: int = 60


class Claims(Struct, frozen=True, gc=False):
    """The claims of a good signature.

    Attributes:
        instance_id: the signing instance (``sub``).
        issued_at: whole seconds since the epoch (``iat``).
        body_digest: SHA-256 of the body, lower-case hex, as claimed; ``verify_event`` compares it.
        key_index: index of the secret that verified; 0 is the newest.
        replayed: the signer marks the event as played back (``usher_replay``).
        triggered: the signer marks it as made by ``usher trigger`` (``usher_trigger``).
    """

    instance_id: UUID
    issued_at: int
    body_digest: str
    key_index: int
    replayed: bool = False
    triggered: bool = False


class _UsualClaims(Struct, gc=False):
    """The claims of an event, in Identity's order."""

    iss: str
    sub: UUID
    iat: int
    sha256: str


_USUAL_START: Final = b'{"iss":'
_DECODE_USUAL: Final = Decoder(_UsualClaims, float_hook=float).decode
_NO_OTHERS: Final[dict[str, Any]] = {}


def _read_claims(octets: bytes) -> _UsualClaims | dict[str, Any]:
    usual = read_exactly(octets, _DECODE_USUAL) if octets.startswith(_USUAL_START) else None
    return usual or loads_object(octets)


def sign_compact(header: bytes, payload: bytes, secret: bytes) -> str:
    """Sign two octet strings as they are: HS256, compact serialisation (RFC 7515, 3.1)."""
    from jwt.algorithms import HMACAlgorithm  # noqa: PLC0415 - verification needs no PyJWT

    signing_input = _encode(header) + b"." + _encode(payload)
    signature = HMACAlgorithm(HMACAlgorithm.SHA256).sign(signing_input, secret)
    return (signing_input + b"." + _encode(signature)).decode()


def sign_event(
    body: bytes,
    instance_id: UUID,
    issued_at: int,
    secret: bytes,
    *,
    replayed: bool = False,
    triggered: bool = False,
) -> str:
    """Make the X-Webhook-Signature value for ``body`` exactly as Identity does.

    Source: GoTrue ``api/hooks.go``: jwt-go's RegisteredClaims first (iss, sub, iat), then sha256.

    Args:
        issued_at: seconds since the epoch.
        replayed, triggered: add our claim ``usher_replay`` or ``usher_trigger``, so that nobody
            takes this for a live event.
    """
    claims: dict[str, Any] = {
        "iss": ISSUER,
        "sub": uuid_text(instance_id),
        "iat": issued_at,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    if replayed:
        claims[REPLAY_CLAIM] = True
    if triggered:
        claims[TRIGGER_CLAIM] = True
    return sign_compact(dumps(_ALGORITHM_HEADER).encode(), dumps(claims).encode(), secret)


def open_compact(
    token: str,
    secrets: Sequence[bytes],
    max_bytes: int = MAX_EVENT_TOKEN_BYTES,
    read: Callable[[bytes], dict[str, Any]] = loads_object,
) -> tuple[dict[str, Any], int]:
    """Check shape, encoding, header and signature of a compact JWS.

    Args:
        read: reads the payload, or raises StrictJsonError.

    Returns:
        The payload as a strict JSON object, and the index of the secret that verified.

    Raises:
        SignatureError: with the first check that failed, in the order of docs/security.md.
    """
    return _open(token, secrets, max_bytes, read)


def _open(
    token: str, secrets: Sequence[bytes], max_bytes: int, read: Callable[[bytes], T]
) -> tuple[T, int]:
    header, payload, signature = _take_apart(token, max_bytes, read)
    if header.get("alg") != "HS256":
        raise SignatureError(Check.ALGORITHM)
    if refused := _REFUSED_HEADERS.intersection(header):
        raise SignatureError(Check.CRITICAL_HEADER, " ".join(sorted(refused)))
    signing_input = token[: token.rindex(".")].encode()
    for index, secret in enumerate(secrets):
        expected = _keyed(secret).copy()
        expected.update(signing_input)
        if compare_digest(expected.digest(), signature):
            return payload, index
    raise SignatureError(Check.SIGNATURE_MISMATCH)


@lru_cache(maxsize=8)
def _keyed(secret: bytes) -> hmac.HMAC:
    """HMAC-SHA-256 that has taken in the secret; to be copied."""
    return hmac.new(secret, digestmod="sha256")


def read_unverified(
    token: str,
    max_bytes: int = MAX_EVENT_TOKEN_BYTES,
    read: Callable[[bytes], dict[str, Any]] = loads_object,
) -> dict[str, Any]:
    """The payload of a compact JWS, its signature not checked: never act on it.

    Raises:
        SignatureError: with the failed check of shape, encoding or JSON.
    """
    return _take_apart(token, max_bytes, read)[1]


def _take_apart(
    token: str, max_bytes: int, read: Callable[[bytes], T]
) -> tuple[dict[str, Any], T, bytes]:
    if len(token) > max_bytes:
        raise SignatureError(Check.TOKEN_TOO_LARGE, f"{len(token)} bytes")
    if token.count(".") != 2:
        raise SignatureError(Check.TOKEN_SHAPE, f"{token.count('.') + 1} segments")
    segments = token.split(".")
    if not all(segments):
        raise SignatureError(Check.TOKEN_SHAPE, "an empty segment")
    header, usual = segments[0], segments[0] == _ALGORITHM_SEGMENT
    header_octets = b"" if usual else _decode(header)
    payload_octets, signature = _decode(segments[1]), _decode(segments[2])
    try:
        document = _ALGORITHM_HEADER if usual else loads_object(header_octets)
        return document, read(payload_octets), signature
    except StrictJsonError:  # its message may quote the token, which must not reach the log
        raise SignatureError(Check.TOKEN_JSON) from None


def the_signature(signatures: Sequence[str]) -> str:
    """The only value of a signature's header.

    Raises:
        SignatureError: there is none, or more than one.
    """
    if not any(signatures):
        raise SignatureError(Check.SIGNATURE_MISSING)
    if len(signatures) > 1 or "," in signatures[0]:  # RFC 9110 5.3: proxies join repeated fields
        raise SignatureError(Check.SIGNATURE_REPEATED)
    return signatures[0]


def verify_event(
    signatures: Sequence[str],
    body: bytes,
    secrets: Sequence[bytes],
    now: float,
    tolerance: Tolerance = Tolerance(),
) -> Claims:
    """Verify one delivery's signature and claims, and that they are about this body.

    Args:
        body: the exact bytes received.
        signatures, secrets, now, tolerance: as ``verify_claims``.

    Raises:
        SignatureError: with the first check that failed.
    """
    claims = verify_claims(signatures, secrets, now, tolerance)
    digest = hashlib.sha256(body).hexdigest()
    if not constant_time_equal(claims.body_digest, digest):
        raise SignatureError(Check.CLAIM_SHA256)
    return claims


def verify_claims(
    signatures: Sequence[str],
    secrets: Sequence[bytes],
    now: float,
    tolerance: Tolerance = Tolerance(),
) -> Claims:
    """Verify one delivery's signature and claims, before anything of its body is read.

    Args:
        signatures: the values of every X-Webhook-Signature header of the request.
        secrets: the keys that may have signed, newest first.
        now: seconds since the epoch.
        tolerance: the window for ``iat``.

    Returns:
        The claims; of ``body_digest`` nobody knows yet whether it is the body's.

    Raises:
        SignatureError: with the first check that failed.
    """
    token = the_signature(signatures)
    found, key_index = _open(token, secrets, MAX_EVENT_TOKEN_BYTES, _read_claims)
    instance_id: UUID | None
    issuer: Any
    issued_at: Any
    digest: Any
    if isinstance(found, _UsualClaims):
        issuer, instance_id, issued_at, digest = found.iss, found.sub, found.iat, found.sha256
        others = _NO_OTHERS
    else:
        issuer, instance_id = found.get("iss"), read_uuid(found.get("sub"))
        issued_at, digest, others = found.get("iat"), found.get("sha256"), found
    if issuer != ISSUER:
        raise SignatureError(Check.CLAIM_ISS)
    if instance_id is None:
        raise SignatureError(Check.CLAIM_SUB)
    if type(issued_at) is not int:
        raise SignatureError(Check.CLAIM_IAT, type(issued_at).__name__)
    if issued_at < now - tolerance.back_seconds:
        raise SignatureError(Check.STALE, f"{min(int(now) - issued_at, 10**12)} s old")
    if issued_at > now + tolerance.ahead_seconds:
        raise SignatureError(Check.FUTURE, f"{min(issued_at - int(now), 10**12)} s ahead")
    _check_optional_times(others, now)
    if not isinstance(digest, str):
        raise SignatureError(Check.CLAIM_SHA256)
    return Claims(
        instance_id,
        issued_at,
        digest,
        key_index,
        others.get(REPLAY_CLAIM) is True,
        others.get(TRIGGER_CLAIM) is True,
    )


def require_site(signatures: Sequence[str], secrets: Sequence[bytes], now: float) -> None:
    """Require Netlify's signature on a request that came through the site.

    A rewrite with ``signed`` in Netlify's configuration adds ``x-nf-sign``: ``iss`` is ``netlify``,
    ``exp`` lies five minutes ahead, and the rest names site and deploy. The signature is not bound
    to the request: it shows that one came through the site, never who sent it.

    Args:
        signatures: the values of every ``x-nf-sign`` header of the request.
        secrets: the keys that may have signed, newest first; none: direct requests are allowed.
        now: seconds since the epoch.

    Raises:
        NotThroughSiteError: with the check that failed as its ``reason``.
    """
    if not secrets:
        return
    try:
        _check_site(signatures, secrets, now)
    except SignatureError as error:
        raise NotThroughSiteError(error.check.value) from None


def _check_site(signatures: Sequence[str], secrets: Sequence[bytes], now: float) -> None:
    payload, _ = open_compact(the_signature(signatures), secrets)
    if payload.get("iss") != SITE_ISSUER:
        raise SignatureError(Check.CLAIM_ISS)
    if "exp" not in payload:
        raise SignatureError(Check.CLAIM_EXP)
    _check_optional_times(payload, now)


def constant_time_equal(claimed: str, expected: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return compare_digest(claimed.encode(), expected.encode())


def _check_optional_times(payload: dict[str, Any], now: float) -> None:
    """Check ``exp`` and ``nbf`` where present (RFC 7519, 4.1.4, 4.1.5); Identity sends neither."""
    if "exp" in payload:
        expiry = payload["exp"]
        if type(expiry) not in (int, float) or expiry <= now:
            raise SignatureError(Check.CLAIM_EXP)
    if "nbf" in payload:
        not_before = payload["nbf"]
        if type(not_before) not in (int, float) or not_before > now:
            raise SignatureError(Check.CLAIM_NBF)


def _encode(octets: bytes) -> bytes:
    return urlsafe_b64encode(octets).rstrip(b"=")


def _decode(segment: str) -> bytes:
    """Decode what has one spelling: no padding, no unused bits that are not zero (RFC 4648, 3.5).

    Raises:
        SignatureError
    """
    try:
        given = segment.encode("ascii").translate(_FROM_URL)
        over = len(given) % 4
        last = _LAST[over]
        if last is None or given[-1] in last:
            return a2b_base64(given + _PADDING[over], strict_mode=True)
    except ValueError:  # UnicodeEncodeError and binascii.Error are such
        pass
    raise SignatureError(Check.TOKEN_ENCODING)
