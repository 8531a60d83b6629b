"""Every way to forge a signature that we know of, each with the check that must refuse it.

One table for two levels: tests/domain/test_jws_shape.py and test_jws_claims.py hand each forgery to
the verifier, tests/server/test_bad_input.py sends it to a server. Unless its name says otherwise
a forgery is well signed: exactly one check stands between it and the door.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.forge import HEADER, STRANGER, claims, encode, good, seal, sized, token, unused_bit
from tests.support import SECRET
from usher.core.errors import Check, SignatureError
from usher.emulator.payload import ZERO_INSTANCE

DEEP = 100_000

Make = Callable[[bytes, int], str]


@dataclass(frozen=True)
class Forgery:
    """A bad token for a body and a time, and the check that it fails."""

    check: Check
    make: Make


@contextmanager
def refused(check: Check, name: str = "") -> Iterator[pytest.ExceptionInfo[SignatureError]]:
    """Insist on a refusal by exactly this check; ``name`` says of what, where it is not so."""
    with pytest.raises(SignatureError) as caught:
        yield caught
    assert caught.value.check is check, name


def _changed(change: Callable[[str, str, str], str]) -> Make:
    """A good token, its three segments put together in another way."""
    return lambda body, now: change(*good(body, now).split("."))


def _sealed(change: Callable[[str, str], tuple[str, str]], spaces: int = 0) -> Make:
    """A token whose first two segments were changed before signing."""

    def make(body: bytes, now: int) -> str:
        pair = encode(HEADER + b" " * spaces), encode(claims(body, now) + b" " * spaces)
        return seal(*change(*pair))

    return make


def _spaces_for_unused_bits(octets: bytes) -> bytes:
    return octets + b" " * (1 if len(octets) % 3 == 0 else 0)


def _unused_in_header(body: bytes, now: int) -> str:
    return seal(unused_bit(encode(_spaces_for_unused_bits(HEADER))), encode(claims(body, now)))


def _unused_in_payload(body: bytes, now: int) -> str:
    payload = encode(_spaces_for_unused_bits(claims(body, now)))
    return seal(encode(HEADER), unused_bit(payload))


def _standard_alphabet(body: bytes, now: int) -> str:
    """Octets whose base64 has a + and a /, in the alphabet of RFC 4648 section 4."""
    octets = claims(body, now, x='"~~~???>>>~~~???>>>"')
    padding = b" " * (-len(octets) % 3)
    standard = b64encode(octets + padding).decode()
    assert "+" in standard
    assert "/" in standard
    return seal(encode(HEADER), standard)


def _header(text: str | bytes, digest: str = "sha256", secret: bytes = SECRET) -> Make:
    octets = text if isinstance(text, bytes) else text.encode()
    return lambda body, now: seal(encode(octets), encode(claims(body, now)), secret, digest)


def _payload(change: Callable[[bytes], bytes]) -> Make:
    return lambda body, now: token(change(claims(body, now)))


def _claims(**changed: str | None) -> Make:
    return lambda body, now: token(claims(body, now, **changed))


def _at(claim: str, offset: int) -> Make:
    return lambda body, now: token(claims(body, now, **{claim: str(now + offset)}))


def _access_token(body: bytes, now: int) -> str:
    """What every user holds: signed with the same secret (docs/identity.md, "Access tokens")."""
    user = "5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51"
    payload = (
        f'{{"aud":"","exp":{now + 3600},"sub":"{user}","email":"ada@example.com",'
        '"app_metadata":{"provider":"email"},"user_metadata":{}}'
    )
    return token(payload.encode(), b'{"alg":"HS256","kid":"nf-ident","typ":"JWT"}')


def _cut(length: int) -> Make:
    """The signature's first octets, spelled canonically."""

    def make(body: bytes, now: int) -> str:
        text = good(body, now).rpartition(".")[0]
        return f"{text}.{encode(hmac.digest(SECRET, text.encode(), 'sha256')[:length])}"

    return make


def _half_digest(body: bytes, now: int) -> str:
    return token(claims(body, now, sha256=f'"{hashlib.sha256(body).hexdigest()[:32]}"'))


def _upper_digest(body: bytes, now: int) -> str:
    return token(claims(body, now, sha256=f'"{hashlib.sha256(body).hexdigest().upper()}"'))


_SHAPE: dict[str, Forgery] = {
    "4097 characters": Forgery(Check.TOKEN_TOO_LARGE, lambda b, n: sized(b, n, 4097)),
    "100,000 segments": Forgery(Check.TOKEN_TOO_LARGE, lambda *_: ".".join("a" * DEEP)),
    "header 100,000 deep": Forgery(
        Check.TOKEN_TOO_LARGE, lambda b, n: token(claims(b, n), b"[" * DEEP + b"]" * DEEP)
    ),
} | {
    name: Forgery(Check.TOKEN_SHAPE, make)
    for name, make in {
        "1 segment": _changed(lambda h, p, s: h + p + s),
        "2 segments": _changed(lambda h, p, s: f"{h}.{p}"),
        "4 segments": _changed(lambda h, p, s: f"{h}.{p}.{s}.{s}"),
        "2,000 segments": _changed(lambda h, p, s: ".".join("a" * 2000)),
        "a dot at the end": _changed(lambda h, p, s: f"{h}.{p}.{s}."),
        "a dot at the start": _changed(lambda h, p, s: f".{h}.{p}.{s}"),
        "only two dots": lambda *_: "..",
        "header empty": _changed(lambda h, p, s: f".{p}.{s}"),
        "payload empty": _changed(lambda h, p, s: f"{h}..{s}"),
        "signature empty": _changed(lambda h, p, s: f"{h}.{p}."),
        "alg none, unsigned": lambda b, n: (
            encode(b'{"alg":"none"}') + "." + encode(claims(b, n)) + "."
        ),
    }.items()
}

_ENCODING = {
    name: Forgery(Check.TOKEN_ENCODING, make)
    for name, make in {
        "padding in the header": _sealed(lambda h, p: (h + "==", p), spaces=1),
        "padding in the payload": _sealed(lambda h, p: (h, p + "=")),
        "padding in the signature": _changed(lambda h, p, s: f"{h}.{p}.{s}="),
        "a space in the header": _sealed(lambda h, p: (h[:4] + " " + h[4:], p)),
        "a space in the payload": _sealed(lambda h, p: (h, p[:4] + " " + p[4:])),
        "a tab before the signature": _changed(lambda h, p, s: f"{h}.{p}.\t{s}"),
        "unused bits in the header": _unused_in_header,
        "unused bits in the payload": _unused_in_payload,
        "unused bits in the signature": _changed(lambda h, p, s: f"{h}.{p}.{unused_bit(s)}"),
        "+ and /": _standard_alphabet,
        "a length no octets have": _changed(lambda h, p, s: f"{h}.{p}.{s}AA"),
        "one character": lambda *_: "a.a.a",
        "percent-encoding": _changed(lambda h, p, s: f"{h}%2E.{p}.{s}"),
    }.items()
}

_JSON = {
    name: Forgery(Check.TOKEN_JSON, make)
    for name, make in {
        "header not UTF-8": _header(b'{"alg":"HS256","x":"\xff"}'),
        "header with a byte order mark": _header(b"\xef\xbb\xbf" + HEADER),
        "header a list": _header('["alg","HS256"]'),
        "header a string": _header('"HS256"'),
        "header null": _header("null"),
        "header cut": _header('{"alg":"HS256"'),
        "header with alg twice": _header('{"alg":"none","alg":"HS256"}'),
        "header with NaN": _header('{"alg":"HS256","x":NaN}'),
        "header 65 deep": _header('{"alg":"HS256","x":' + "[" * 64 + "]" * 64 + "}"),
        "payload not UTF-8": _payload(lambda p: p.replace(b"gotrue", b"gotrue\xff")),
        "payload UTF-16": lambda b, n: token(claims(b, n).decode().encode("utf-16")),
        "payload a list": _payload(lambda p: b"[" + p + b"]"),
        "payload a number": _payload(lambda p: b"1"),
        "payload null": _payload(lambda p: b"null"),
        "payload with iss twice": _payload(lambda p: b'{"iss":"gotrue",' + p[1:]),
        "payload 65 deep": _claims(x="[" * 64 + "]" * 64),
        "payload 1,400 deep": _payload(lambda p: b"[" * 1400),
        "payload with U+0000": _claims(x='"\\u0000"'),
        "payload with half a surrogate pair": _claims(x='"\\ud800"'),
        "payload and more": _payload(lambda p: p + b"{}"),
        "iat NaN": _claims(iat="NaN"),
        "iat infinite": _claims(iat="-Infinity"),
        "iat 1e400": _claims(iat="1e400"),
        "iat of 2,000 nested lists": _claims(iat="[" * 1000 + "]" * 1000),
        "exp NaN": _claims(exp="NaN"),
    }.items()
}

_HEADER = {
    f"alg {spelling or 'empty'}": Forgery(Check.ALGORITHM, _header(f'{{"alg":"{spelling}"}}'))
    for spelling in ("none", "None", "NONE", "nOnE", "", "hs256", "HS256 ", "HMAC", "RS256")
} | {
    name: Forgery(check, make)
    for name, check, make in (
        ("alg null", Check.ALGORITHM, _header('{"alg":null}')),
        ("alg missing", Check.ALGORITHM, _header('{"typ":"JWT"}')),
        ("alg a list", Check.ALGORITHM, _header('{"alg":["HS256"]}')),
        ("alg an object", Check.ALGORITHM, _header('{"alg":{"HS256":1}}')),
        ("alg a number", Check.ALGORITHM, _header('{"alg":256}')),
        ("ALG in capitals", Check.ALGORITHM, _header('{"ALG":"HS256"}')),
        ("HS384, truly", Check.ALGORITHM, _header('{"alg":"HS384"}', "sha384")),
        ("HS512, truly", Check.ALGORITHM, _header('{"alg":"HS512"}', "sha512")),
        ("crit", Check.CRITICAL_HEADER, _header('{"alg":"HS256","crit":["exp"]}')),
        ("crit empty", Check.CRITICAL_HEADER, _header('{"alg":"HS256","crit":[]}')),
        ("b64 false", Check.CRITICAL_HEADER, _header('{"alg":"HS256","b64":false}')),
        ("b64 true", Check.CRITICAL_HEADER, _header('{"alg":"HS256","b64":true}')),
        ("zip", Check.CRITICAL_HEADER, _header('{"alg":"HS256","zip":"DEF"}')),
    )
}

_SIGNATURE = {
    name: Forgery(Check.SIGNATURE_MISMATCH, make)
    for name, make in {
        "wrong key": lambda b, n: token(claims(b, n), secret=STRANGER),
        "empty key": lambda b, n: token(claims(b, n), secret=b""),
        "kid with a path, wrong key": _header('{"alg":"HS256","kid":"/dev/null"}', secret=b""),
        "kid with SQL, wrong key": _header(
            '{"alg":"HS256","kid":"x\' UNION SELECT \'key"}', secret=b"key"
        ),
        "jwk brought along": _header(
            f'{{"alg":"HS256","jwk":{{"kty":"oct","k":"{encode(STRANGER)}"}}}}', secret=STRANGER
        ),
        "jku, wrong key": _header('{"alg":"HS256","jku":"http://127.0.0.1:9/"}', secret=STRANGER),
        "HS512 under the name HS256": _header(HEADER, "sha512"),
        "signature of 1 octet": _cut(1),
        "signature of 31 octets": _cut(31),
        "signature and one octet more": _changed(lambda h, p, s: f"{h}.{p}.{encode(b'0' * 33)}"),
        "signature of zeros": _changed(lambda h, p, s: f"{h}.{p}.{'A' * 43}"),
        "another header's signature": _changed(lambda h, p, s: f"{encode(HEADER + b' ')}.{p}.{s}"),
    }.items()
}

_CLAIMS = {
    f"{claim} {name}": Forgery(check, make)
    for claim, check, cases in (
        (
            "iss",
            Check.CLAIM_ISS,
            {
                "missing": _claims(iss=None),
                "null": _claims(iss="null"),
                "of Netlify's proxy": _claims(iss='"netlify"'),
                "in capitals": _claims(iss='"GOTRUE"'),
                "with a space": _claims(iss='"gotrue "'),
                "a list": _claims(iss='["gotrue"]'),
                "absent: an access token": _access_token,
            },
        ),
        (
            "sub",
            Check.CLAIM_SUB,
            {
                "missing": _claims(sub=None),
                "null": _claims(sub="null"),
                "a number": _claims(sub="0"),
                "a name": _claims(sub='"example"'),
                "without hyphens": _claims(sub=f'"{ZERO_INSTANCE.hex}"'),
                "in braces": _claims(sub=f'"{{{ZERO_INSTANCE}}}"'),
                "a URN": _claims(sub=f'"urn:uuid:{ZERO_INSTANCE}"'),
                "with a newline": _claims(sub=f'"{ZERO_INSTANCE}\\n"'),
                "in other digits": _claims(sub=f'"{str(ZERO_INSTANCE)[:-1]}\\u0660"'),
                "a list": _claims(sub=f'["{ZERO_INSTANCE}"]'),
            },
        ),
        (
            "iat",
            Check.CLAIM_IAT,
            {
                "missing": _claims(iat=None),
                "null": _claims(iat="null"),
                "a string": lambda b, n: token(claims(b, n, iat=f'"{n}"')),
                "true": _claims(iat="true"),
                "a float": lambda b, n: token(claims(b, n, iat=f"{n}.5")),
                "a whole float": lambda b, n: token(claims(b, n, iat=f"{n}.0")),
                "an object": _claims(iat="{}"),
            },
        ),
        (
            "iat",
            Check.STALE,
            {
                "301 s back": _at("iat", -301),
                "0": _claims(iat="0"),
                "-10^400": _claims(iat="-1" + "0" * 400),
            },
        ),
        (
            "iat",
            Check.FUTURE,
            {
                "90 s ahead": _at("iat", 90),
                "in milliseconds": lambda b, n: token(claims(b, n, iat=f"{n}000")),
                "10^400": _claims(iat="1" + "0" * 400),
            },
        ),
        (
            "exp",
            Check.CLAIM_EXP,
            {
                "passed": _at("exp", -1),
                "null": _claims(exp="null"),
                "a string": lambda b, n: token(claims(b, n, exp=f'"{n + 60}"')),
                "true": _claims(exp="true"),
                "-10^400": _claims(exp="-1" + "0" * 400),
            },
        ),
        (
            "nbf",
            Check.CLAIM_NBF,
            {
                "ahead": _at("nbf", 3600),
                "null": _claims(nbf="null"),
                "a string": _claims(nbf='"0"'),
                "false": _claims(nbf="false"),
                "10^400": _claims(nbf="1" + "0" * 400),
            },
        ),
        (
            "sha256",
            Check.CLAIM_SHA256,
            {
                "missing": _claims(sha256=None),
                "null": _claims(sha256="null"),
                "a number": _claims(sha256="0"),
                "a list": _claims(sha256="[]"),
                "empty": _claims(sha256='""'),
                "half": _half_digest,
                "in capitals": _upper_digest,
                "not ASCII": _claims(sha256='"\\u00e9"'),
                "of another body": lambda b, n: good(b + b" ", n),
            },
        ),
    )
    for name, make in cases.items()
}

SHAPES = _SHAPE | _ENCODING | _JSON | _HEADER | _SIGNATURE
CLAIMS = _CLAIMS
FORGERIES = SHAPES | CLAIMS
