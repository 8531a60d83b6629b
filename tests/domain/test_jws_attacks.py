"""Published attacks on JSON Web Tokens, by their names: each is tried on the event verifier.

Where tests/forgeries.py holds the same forgery already, it is taken from there. The attacks are
those of CVEs against other libraries, of RFC 8725, of "Critical vulnerabilities in JSON Web Token
libraries" (2015), and of "Three New Attacks Against JSON Web Tokens" (Black Hat USA 2023). Each
number was looked up in an advisory or in its project's own issue (docs/security.md).
"""

from __future__ import annotations

import itertools
import json
import socket
import zlib
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import pytest

from tests.forge import HEADER, STRANGER, claims, encode, good, seal, token
from tests.forgeries import FORGERIES, refused
from tests.support import NOON, SECRET
from usher.core.errors import Check
from usher.core.jws import open_compact, verify_event

NOW = int(NOON.timestamp())
BODY = b'{"event":"login"}'
CLAIMS = claims(BODY, NOW)

# What an attacker knows of a server that also has asymmetric keys: their public halves.
PUBLIC_KEYS = {
    "an RSA key in PEM": b"-----BEGIN PUBLIC KEY-----\nMFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK0=\n"
    b"-----END PUBLIC KEY-----\n",
    "an RSA key in PKCS #1": b"-----BEGIN RSA PUBLIC KEY-----\nMEgCQQCtMA==\n"
    b"-----END RSA PUBLIC KEY-----\n",
    "a certificate": b"-----BEGIN CERTIFICATE-----\nMIIBIjANBg==\n-----END CERTIFICATE-----\n",
    "an Ed25519 key in OpenSSH's form": b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB user@host\n",
    "an ECDSA key in OpenSSH's form": b"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY= u@h\n",
}
JWK = b'{"kty":"RSA","n":"rTA","e":"AQAB"}'
# Spellings of public keys that libraries did not know for what they are, and took for secrets.
DISGUISED_KEYS = {
    "PEM after a space": b" " + PUBLIC_KEYS["an RSA key in PEM"],
    "PEM with its end indented": PUBLIC_KEYS["an RSA key in PEM"].replace(
        b"-----END", b"\t-----END"
    ),
    "PEM with CR for its lines": PUBLIC_KEYS["an RSA key in PEM"].replace(b"\n", b"\r"),
    "PEM on one line": b" ".join(PUBLIC_KEYS["an RSA key in PEM"].splitlines()),
    "DER": b64decode("MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAK0="),
    "a JWK": JWK,
    "a JWK after a byte order mark": b"\xef\xbb\xbf" + JWK,
    "a set of JWKs": b'{"keys":[' + JWK + b"]}",
}


def header(**members: Any) -> bytes:
    """A JOSE header."""
    return json.dumps(members).encode()


def under(head: bytes, signature: bytes | None = None, secret: bytes = STRANGER) -> str:
    """Identity's own claims under another header; signed with ``secret`` unless given."""
    made = token(CLAIMS, head, secret)
    return made if signature is None else f"{made.rpartition('.')[0]}.{encode(signature)}"


def polyglot() -> str:
    """CVE-2022-39227: one text that is a compact token for one parser and JSON for another."""
    head, payload, signature = good(BODY, NOW).split(".")
    forged = encode(claims(BODY + b" ", NOW))
    return (
        f'{{"  {head}.{forged}.":"","protected":"{head}", "payload":"{payload}",'
        f'"signature":"{signature}"}}'
    )


def json_serialised(**more: str) -> str:
    """A good signature in the JSON serialisation (RFC 7515, section 7.2)."""
    head, payload, signature = good(BODY, NOW).split(".")
    return json.dumps({"protected": head, "payload": payload, "signature": signature} | more)


def none_in_every_letter_case() -> dict[str, str]:
    """``nOnE`` and its sisters, unsigned, and with the signature of another token left in place."""
    spellings = map("".join, itertools.product("nN", "oO", "nN", "eE"))
    return {spelling: under(header(alg=spelling), b"x" * 32) for spelling in spellings}


ZIPPED = zlib.compress(b" " * 1_000_000)[2:-4]
JWE = ".".join(map(encode, (header(alg="dir", enc="A256GCM"), b"k", b"i" * 12, CLAIMS, b"t" * 16)))
BILLION_HASHES = {"alg": "PBES2-HS256+A128KW", "enc": "A128GCM", "p2c": 2**31 - 1, "p2s": "AAAA"}

Attacks = Mapping[str, tuple[str, Check]]


def forgeries(*names: str) -> dict[str, tuple[str, Check]]:
    """These of tests/forgeries.py."""
    return {name: (FORGERIES[name].make(BODY, NOW), FORGERIES[name].check) for name in names}


def refuse_all(attacks: Attacks) -> None:
    """Each is refused by exactly the check that it is aimed at."""
    assert attacks
    for name, (forged, check) in attacks.items():
        with refused(check, name):
            verify_event([forged], BODY, [SECRET], NOW)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks up a key somewhere fails here."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the verifier opened a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_the_token_that_the_attacks_start_from_is_good() -> None:
    """Otherwise all of them would be refused for nothing."""
    assert verify_event([good(BODY, NOW)], BODY, [SECRET], NOW).issued_at == NOW
    assert under(HEADER, secret=SECRET) == good(BODY, NOW)


def test_alg_none() -> None:
    """CVE-2015-2951, CVE-2022-23540: a token that says that it needs no signature."""
    spelled = {name: (forged, Check.ALGORITHM) for name, forged in
               none_in_every_letter_case().items()}  # fmt: skip
    escaped = under(b'{"\\u0061lg":"\\u006eone"}', b"x")
    refuse_all(
        spelled
        | {"escaped": (escaped, Check.ALGORITHM)}
        | forgeries("alg none, unsigned", "alg missing", "alg null", "alg empty", "alg a list")
    )


def test_a_public_key_taken_for_a_secret() -> None:
    """CVE-2015-9235, CVE-2016-10555, CVE-2017-11424, CVE-2022-29217, CVE-2024-33663, -37568.

    RS256 to HS256. There is no asymmetric key here; only the configured secrets ever verify.
    """
    for name, key in PUBLIC_KEYS.items():
        for secret in (key, key.strip(), key.replace(b"\n", b"\r\n")):
            refuse_all({name: (under(HEADER, secret=secret), Check.SIGNATURE_MISMATCH)})
    refuse_all(forgeries("alg RS256"))
    asymmetric = ("RS256", "RS512", "PS256", "ES256", "ES256K", "EdDSA", "Ed25519")
    refuse_all(
        {alg: (under(header(alg=alg), secret=SECRET), Check.ALGORITHM) for alg in asymmetric}
    )


def test_a_public_key_in_disguise() -> None:
    """CVE-2023-48223, CVE-2026-34950, -48526, -85394, -102268, -102271, -102272, -102273.

    Lists of what a public key looks like were passed by white space, DER, JWK. There is no list.
    """
    refuse_all(
        {name: (under(HEADER, secret=key), Check.SIGNATURE_MISMATCH)
         for name, key in DISGUISED_KEYS.items()}
    )  # fmt: skip


def test_an_algorithm_that_nobody_knows() -> None:
    """CVE-2026-23993: what has no algorithm got an empty signature, which was then equal."""
    for alg in (
        "foo",
        "zzz",
        "",
        "HS257",
        "HS256\0",
        "\uff28S256",
        "H\u017f256",
        "HS\uff12\u0665\u0666",
    ):
        check = Check.TOKEN_JSON if "\0" in alg else Check.ALGORITHM
        unsigned = under(header(alg=alg), b"")
        refuse_all(
            {
                f"{alg!r}, unsigned": (unsigned, Check.TOKEN_SHAPE),
                f"{alg!r}, signed": (under(header(alg=alg), secret=SECRET), check),
                f"{alg!r}, empty key": (under(header(alg=alg), secret=b""), check),
            }
        )


def test_a_blank_secret() -> None:
    """CVE-2019-20933, CVE-2026-44351, -44699, -45363, -49852, -102266: the empty key verified.

    And others that a careless program may fall back to.
    """
    blanks = (b"", b"\0", b"\0" * 32, b" ", b"null", b"None", b"undefined", b"secret")
    refuse_all({repr(key): (under(HEADER, secret=key), Check.SIGNATURE_MISMATCH) for key in blanks})
    refuse_all(forgeries("empty key", "wrong key"))


def test_an_empty_or_short_signature() -> None:
    """CVE-2020-28042: only as many octets compared as the attacker sent."""
    refuse_all(
        forgeries(
            "signature empty",
            "2 segments",
            "signature of 1 octet",
            "signature of 31 octets",
            "signature and one octet more",
        )
    )


def test_psychic_signatures() -> None:
    """CVE-2022-21449: r and s of zero satisfied ECDSA; as an HMAC they are 64 wrong octets."""
    refuse_all(
        {
            "ES256": (under(header(alg="ES256"), bytes(64)), Check.ALGORITHM),
            "DER": (under(header(alg="ES256"), bytes.fromhex("3006020100020100")),
                    Check.ALGORITHM),
            "named HS256": (under(HEADER, bytes(64)), Check.SIGNATURE_MISMATCH),
        }
        | forgeries("signature of zeros")
    )  # fmt: skip


def test_polyglot_tokens() -> None:
    """CVE-2022-39227: verified in one serialisation, read in the other."""
    refuse_all({"polyglot": (polyglot(), Check.SIGNATURE_REPEATED)})
    with refused(Check.TOKEN_ENCODING):
        open_compact(polyglot(), [SECRET])


def test_json_serialisation() -> None:
    """RFC 7515, section 7.2: several signatures, unprotected headers; nobody here reads any."""
    for made in (json_serialised(), json_serialised(header='{"alg":"none"}')):
        refuse_all({made: (made, Check.SIGNATURE_REPEATED)})
        with refused(Check.TOKEN_SHAPE):
            open_compact(made, [SECRET])


def test_kid_injection() -> None:
    """CVE-2025-65945: what the token says never chooses the key, nor reaches anything."""
    kids = (
        "../../../../dev/null", "/dev/null", "x' UNION SELECT 'key", "|sleep 10", "\x00", "", None,
        0, ["key"], {"k": 1}, "nf-ident",
    )  # fmt: skip
    for kid in kids:
        head = header(alg="HS256", kid=kid)
        check = Check.TOKEN_JSON if kid == "\x00" else Check.SIGNATURE_MISMATCH
        refuse_all({repr(kid): (under(head, secret=b""), check)})
        refuse_all({f"{kid!r}, key": (under(head, secret=b"key"), check)})
    refuse_all(forgeries("kid with a path, wrong key", "kid with SQL, wrong key"))


def test_keys_brought_along() -> None:
    """CVE-2018-0114, CVE-2026-27962, CVE-2026-34240: ``jwk`` and its like are never followed."""
    own = {"kty": "oct", "k": encode(STRANGER)}
    brought: dict[str, Any] = {
        "jwk": own, "jku": "https://127.0.0.1/keys", "x5u": "https://127.0.0.1/cert",
        "x5c": [encode(STRANGER)], "x5t": "AAAA", "keys": [own], "url": "file:///dev/null",
    }  # fmt: skip
    refuse_all(
        {name: (under(header(alg="HS256", **{name: value})), Check.SIGNATURE_MISMATCH)
         for name, value in brought.items()}
        | forgeries("jwk brought along", "jku, wrong key")
    )  # fmt: skip


def test_critical_headers_that_nobody_understands() -> None:
    """CVE-2025-59420, CVE-2026-32597: ``crit`` is refused by who does not know what it names."""
    crit = {"alg": "HS256", "crit": ["exp"], "exp": 0}
    refuse_all(
        {
            "signed": (under(header(**crit), secret=SECRET), Check.CRITICAL_HEADER),
            "escaped": (under(b'{"alg":"HS256","\\u0063rit":["b64"]}', secret=SECRET),
                        Check.CRITICAL_HEADER),
            "unknown": (under(header(alg="HS256", crit=["cnf"], cnf={}), secret=SECRET),
                        Check.CRITICAL_HEADER),
            "null": (under(header(alg="HS256", crit=None), secret=SECRET),
                     Check.CRITICAL_HEADER),
        }
        | forgeries("crit", "crit empty")
    )  # fmt: skip


def test_an_unencoded_payload() -> None:
    """RFC 7797: with ``b64`` false the payload is read as it stands: two meanings.

    CVE-2026-48525: and one that nobody reads, because it is detached, cost its decoding.
    """
    head = header(alg="HS256", b64=False, crit=["b64"])
    plain = seal(encode(head), CLAIMS.decode())
    refuse_all(
        {
            "unencoded": (plain, Check.SIGNATURE_REPEATED),
            "encoded": (under(head, secret=SECRET), Check.CRITICAL_HEADER),
            "detached": (f"{encode(head)}..{encode(b'x' * 32)}", Check.TOKEN_SHAPE),
            "detached and huge": (
                f"{encode(head)}.{'A' * 1_000_000}.AA",
                Check.TOKEN_TOO_LARGE,
            ),
        }
        | forgeries("b64 false", "b64 true")
    )
    with refused(Check.TOKEN_ENCODING):
        open_compact(plain, [SECRET])


def test_a_zip_bomb() -> None:
    """CVE-2024-33664, CVE-2025-62706: a megabyte in a kilobyte; nothing is ever inflated."""
    assert len(ZIPPED) < 2_000
    bomb = seal(encode(header(alg="HS256", zip="DEF")), encode(ZIPPED))
    refuse_all({"bomb": (bomb, Check.TOKEN_JSON)} | forgeries("zip"))


def test_endless_segments() -> None:
    """CVE-2025-27144, CVE-2025-30204, CVE-2025-61920: dots that cost memory before the refusal.

    CVE-2026-102265: depth that ended the program.
    """
    refuse_all(
        {
            "dots": ("." * 1_000_000, Check.TOKEN_TOO_LARGE),
            "dots within the cap": ("." * 4096, Check.TOKEN_SHAPE),
            "a long header": (f"{'A' * 10_000_000}.e30.AA", Check.TOKEN_TOO_LARGE),
        }
        | forgeries(
            "100,000 segments", "header 100,000 deep", "header 65 deep", "payload 65 deep",
            "payload 1,400 deep",
        )
    )  # fmt: skip


def test_an_encrypted_token_taken_for_a_signed_one() -> None:
    """CVE-2023-51774: whoever has the public key can encrypt; that is no signature."""
    refuse_all(
        {
            "five parts": (JWE, Check.TOKEN_SHAPE),
            "three parts": (under(header(alg="dir", enc="A256GCM"), secret=SECRET),
                            Check.ALGORITHM),
            "RSA": (under(header(alg="RSA-OAEP", enc="A256GCM"), secret=SECRET),
                    Check.ALGORITHM),
        }
    )  # fmt: skip


def test_billion_hashes() -> None:
    """CVE-2023-50967, CVE-2023-52428: ``p2c`` rounds of a password hash, as many as one likes."""
    refuse_all({"PBES2": (under(header(**BILLION_HASHES), secret=SECRET), Check.ALGORITHM)})


def test_a_token_in_a_token() -> None:
    """``cty`` = JWT: the payload is another token, which nobody opens."""
    nested = token(good(BODY, NOW).encode(), header(alg="HS256", cty="JWT"))
    refuse_all({"nested": (nested, Check.TOKEN_JSON)})


def test_ambiguous_json() -> None:
    """Two readings of one document: names twice, plainly or by an escape, and in letter cases."""
    twice = CLAIMS[:-1] + b',"\\u0069ss":"netlify"}'
    refuse_all(
        {
            "iss twice by an escape": (token(twice), Check.TOKEN_JSON),
            "alg twice by an escape": (
                under(b'{"alg":"HS256","\\u0061lg":"none"}', secret=SECRET), Check.TOKEN_JSON
            ),
            "Alg beside no alg": (under(header(Alg="HS256"), secret=SECRET), Check.ALGORITHM),
            "Iss for iss": (token(CLAIMS.replace(b'"iss"', b'"Iss"')), Check.CLAIM_ISS),
        }
        | forgeries(
            "header with alg twice", "payload with iss twice", "payload UTF-16",
            "header with a byte order mark", "payload with half a surrogate pair",
            "payload with U+0000", "payload and more",
        )
    )  # fmt: skip


def test_a_token_spelled_in_another_way() -> None:
    """CVE-2026-102269: a second spelling passed the list of tokens that were taken back."""
    refuse_all(
        forgeries(
            "padding in the header", "padding in the payload", "padding in the signature",
            "unused bits in the header", "unused bits in the payload",
            "unused bits in the signature", "+ and /", "a space in the payload", "percent-encoding",
        )
    )  # fmt: skip


def test_claims_of_wrong_types() -> None:
    """CVE-2020-26160: a claim of another type is no claim that is absent, nor one that holds."""
    odd: dict[str, Check] = {
        "iss": Check.CLAIM_ISS, "sub": Check.CLAIM_SUB,
        "iat": Check.CLAIM_IAT, "exp": Check.CLAIM_EXP,
        "nbf": Check.CLAIM_NBF, "sha256": Check.CLAIM_SHA256,
    }  # fmt: skip
    for claim, check in odd.items():
        for value in ("null", "[]", "{}", "true", '""', '["gotrue"]', '{"$ne":1}'):
            refuse_all({f"{claim} {value}": (token(claims(BODY, NOW, **{claim: value})), check)})


def test_an_issuer_that_is_part_of_the_right_one() -> None:
    """CVE-2024-53861: PyJWT 2.10.0 took any part of the expected issuer."""
    for part in ("", "g", "got", "true", "gotru", "gotrue,", "gotrue\\u0000", "GoTrue", "gotrue."):
        check = Check.TOKEN_JSON if "u0000" in part else Check.CLAIM_ISS
        refuse_all({part: (token(claims(BODY, NOW, iss=f'"{part}"')), check)})


def test_numbers_that_do_not_fit() -> None:
    """CVE-2020-10735, and exponents: no number takes long, overflows, or counts as another."""
    huge = claims(BODY, NOW, iat="9" * 3_000)
    refuse_all(
        {
            "3,000 digits": (seal(encode(HEADER), encode(huge)), Check.TOKEN_TOO_LARGE)
            if len(encode(huge)) > 4_000
            else (token(huge), Check.FUTURE),
            "1e308": (token(claims(BODY, NOW, iat="1e308")), Check.CLAIM_IAT),
            "1e99999999": (token(claims(BODY, NOW, exp="1e99999999")), Check.TOKEN_JSON),
            "-0.0": (token(claims(BODY, NOW, iat="-0.0")), Check.CLAIM_IAT),
            "2^64 and now": (token(claims(BODY, NOW, iat=str(2**64 + NOW))), Check.FUTURE),
            "other digits": (
                token(claims(BODY, NOW, iat="".join(chr(0x660 + int(d)) for d in str(NOW)))),
                Check.TOKEN_JSON,
            ),
            "a string": (token(claims(BODY, NOW, iat=f'"{NOW}"')), Check.CLAIM_IAT),
            "a plus": (token(claims(BODY, NOW, iat=f"+{NOW}")), Check.TOKEN_JSON),
            "underscores": (token(claims(BODY, NOW, iat="1_800_000_000")), Check.TOKEN_JSON),
            "sub of other digits": (
                token(
                    claims(
                        BODY, NOW, sub='"' + "-".join("\uff10" * n for n in (8, 4, 4, 4, 12)) + '"'
                    )
                ),
                Check.CLAIM_SUB,
            ),
        }
        | forgeries("iat 10^400", "iat -10^400", "exp -10^400", "nbf 10^400", "iat 1e400")
    )


def test_a_token_made_for_something_else() -> None:
    """RFC 8725, 2.7 and 2.8: an access token, an operator's, another event's, another body's."""
    operator = json.dumps({"iss": "gotrue", "exp": NOW + 60, "iat": NOW, "sub": ""}).encode()
    refuse_all(
        {"an operator's": (token(operator), Check.CLAIM_SUB)}
        | forgeries(
            "iss absent: an access token", "iss of Netlify's proxy", "sha256 missing",
            "sha256 of another body", "another header's signature",
        )
    )  # fmt: skip
