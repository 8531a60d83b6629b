"""Signing, known-good vectors, several secrets, and what we check that PyJWT does not."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from uuid import UUID

import jwt
import pytest

from tests.forge import HEADER, STRANGER, claims, encode, good, seal, token
from tests.forgeries import refused
from tests.support import NOON, OLD_SECRET, SECRET
from usher.core.errors import Check, SignatureError
from usher.core.jws import (
    Claims,
    open_compact,
    read_unverified,
    sign_compact,
    sign_event,
    verify_event,
)
from usher.emulator.payload import ZERO_INSTANCE

NOW = int(NOON.timestamp())
BODY = b'{"event":"login"}'
BODY_DIGEST = "04ce4bf2c30230bbb0f7b2f281934938ec2a1dbafc2ae932b8056adee79ec042"
INSTANCE = UUID("5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51")

# RFC 7515, appendix A.1. The header and the payload have a line break and a space inside.
RFC7515_KEY = (
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
)
RFC7515_HEADER = b'{"typ":"JWT",\r\n "alg":"HS256"}'
RFC7515_PAYLOAD = b'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
RFC7515_TOKEN = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
    "cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)

# RFC 7520, section 4.4. The payload is a sentence, not JSON.
RFC7520_KEY = "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"
RFC7520_HEADER = b'{"alg":"HS256","kid":"018c0ae5-4d9b-471b-bfd6-eef314bc7037"}'
RFC7520_PAYLOAD = (
    "It\u2019s a dangerous business, Frodo, going out your door. You step onto the road, and if "
    "you don't keep your feet, there\u2019s no knowing where you might be swept off to."
)
RFC7520_TOKEN = (
    "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9"
    ".SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAg"
    "b250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dp"
    "bmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
    ".s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"
)


def octets(segment: str) -> bytes:
    """What a segment stands for."""
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


# --- known-good vectors --------------------------------------------------------------------------


def test_the_token_of_rfc_7515_opens_with_its_key() -> None:
    """The example of RFC 7515, appendix A.1, is accepted and reads as the RFC says."""
    payload, key_index = open_compact(RFC7515_TOKEN, [octets(RFC7515_KEY)])
    expected = {"iss": "joe", "exp": 1300819380, "http://example.com/is_root": True}
    assert (payload, key_index) == (expected, 0)


def test_the_token_of_rfc_7520_is_reproduced() -> None:
    """Signing the octets of RFC 7520, section 4.4, gives exactly the RFC's text."""
    made = sign_compact(RFC7520_HEADER, RFC7520_PAYLOAD.encode(), octets(RFC7520_KEY))
    assert made == RFC7520_TOKEN


def test_the_token_of_rfc_7515_is_reproduced() -> None:
    """Signing the octets of RFC 7515, appendix A.1, gives the RFC's text."""
    assert sign_compact(RFC7515_HEADER, RFC7515_PAYLOAD, octets(RFC7515_KEY)) == RFC7515_TOKEN


def test_a_signed_text_that_is_no_object_is_refused() -> None:
    """RFC 7520's token is well signed, but its payload says nothing that we could read."""
    with refused(Check.TOKEN_JSON):
        open_compact(RFC7520_TOKEN, [octets(RFC7520_KEY)])


def test_a_vector_with_another_key_is_refused() -> None:
    """One bit of the key decides."""
    key = octets(RFC7515_KEY)
    with refused(Check.SIGNATURE_MISMATCH):
        open_compact(RFC7515_TOKEN, [bytes([key[0] ^ 1]) + key[1:]])


# --- signing -------------------------------------------------------------------------------------


def test_an_event_is_signed_exactly_as_identity_signs_it() -> None:
    """Header and claims have jwt-go's bytes: keys in its order, no spaces, whole seconds."""
    header, payload, _ = sign_event(BODY, INSTANCE, NOW, SECRET).split(".")
    assert octets(header) == b'{"alg":"HS256","typ":"JWT"}'
    assert octets(payload) == (
        b'{"iss":"gotrue","sub":"5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51","iat":1795435200,'
        b'"sha256":"' + BODY_DIGEST.encode() + b'"}'
    )


def test_a_signed_event_equals_one_signed_without_our_code() -> None:
    """The signature is plain HMAC-SHA256 over the two segments."""
    assert sign_event(BODY, ZERO_INSTANCE, NOW, SECRET) == good(BODY, NOW)


def test_pyjwt_accepts_what_we_sign() -> None:
    """An independent library reads our tokens."""
    made = sign_event(BODY, INSTANCE, NOW, SECRET)
    read = jwt.decode(made, SECRET, ["HS256"], issuer="gotrue", options={"verify_iat": False})
    assert read["sha256"] == BODY_DIGEST


# --- several secrets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("signed_with", "index"),
    [(SECRET, 0), (OLD_SECRET, 1), (STRANGER, 2)],
    ids=["newest", "older", "oldest"],
)
def test_each_configured_secret_verifies(signed_with: bytes, index: int) -> None:
    """While secrets rotate, any of them may have signed, and the claims say which did."""
    signature = sign_event(BODY, INSTANCE, NOW, signed_with)
    found = verify_event([signature], BODY, [SECRET, OLD_SECRET, STRANGER], NOW)
    assert found == Claims(INSTANCE, NOW, BODY_DIGEST, key_index=index)


def test_of_two_equal_secrets_the_newest_is_named() -> None:
    """Secrets are tried in their order, newest first."""
    signature = sign_event(BODY, INSTANCE, NOW, SECRET)
    assert verify_event([signature], BODY, [STRANGER, SECRET, SECRET], NOW).key_index == 1


def test_a_removed_secret_verifies_no_more() -> None:
    """Rotation ends when the old secret leaves the list."""
    with refused(Check.SIGNATURE_MISMATCH):
        verify_event([sign_event(BODY, INSTANCE, NOW, OLD_SECRET)], BODY, [SECRET], NOW)


def test_without_secrets_nothing_verifies() -> None:
    """No secret means closed."""
    with refused(Check.SIGNATURE_MISMATCH):
        verify_event([good(BODY, NOW)], BODY, [], NOW)


# --- stricter than PyJWT -------------------------------------------------------------------------

PAYLOAD_TWICE = b'{"iss":"netlify",' + claims(BODY, NOW)[1:]
PYJWT_ACCEPTS = {
    "padding": (good(BODY, NOW) + "=", Check.TOKEN_ENCODING),
    "padding in a signed segment": (
        seal(encode(HEADER + b" ") + "==", encode(claims(BODY, NOW))),
        Check.TOKEN_ENCODING,
    ),
    "duplicate claims": (token(PAYLOAD_TWICE), Check.TOKEN_JSON),
    "duplicate alg": (token(claims(BODY, NOW), b'{"alg":"none",' + HEADER[1:]), Check.TOKEN_JSON),
}


@pytest.mark.parametrize(("signature", "check"), PYJWT_ACCEPTS.values(), ids=PYJWT_ACCEPTS.keys())
def test_what_pyjwt_alone_would_accept_is_refused(signature: str, check: Check) -> None:
    """PyJWT reads padded and ambiguous tokens; our checks come before it."""
    read = jwt.decode(signature, SECRET, ["HS256"], issuer="gotrue", options={"verify_iat": False})
    assert read["iat"] == NOW
    with refused(check):
        verify_event([signature], BODY, [SECRET], NOW)


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "", None, 7, ["JWT"]], ids=repr)
def test_typ_means_nothing(typ: object) -> None:
    """``typ`` is a hint for programs that mix kinds of objects (RFC 7515, 4.1.9): ignored."""
    header = json.dumps({"alg": "HS256", "typ": typ}).encode()
    assert verify_event([token(claims(BODY, NOW), header)], BODY, [SECRET], NOW).issued_at == NOW


# --- what a refusal tells the log, and what a replay says of itself -------------------------------

FACTS = {
    "too large": ("a" * 4097, "4097 bytes"),
    "two parts": ("a.b", "2 segments"),
    "four parts": ("a.b.c.d", "4 segments"),
    "an empty part": ("a..c", "an empty segment"),
    "two refused headers": (
        token(claims(BODY, NOW), b'{"alg":"HS256","zip":"","b64":true}'),
        "b64 zip",
    ),
    "a text for a time": (token(claims(BODY, NOW, iat='"0"')), "str"),
    "no time": (token(claims(BODY, NOW, iat=None)), "NoneType"),
    "very old": (token(claims(BODY, NOW, iat="-1" + "0" * 20)), "1000000000000 s old"),
    "very far ahead": (token(claims(BODY, NOW, iat="1" + "0" * 20)), "1000000000000 s ahead"),
}


@pytest.mark.parametrize(("signature", "fact"), FACTS.values(), ids=FACTS.keys())
def test_a_refusal_tells_the_log_one_bounded_fact(signature: str, fact: str) -> None:
    """How large, how many, how old: never a piece of the token, nor a number without end."""
    with pytest.raises(SignatureError) as error:
        verify_event([signature], BODY, [SECRET], NOW)
    assert error.value.fact == fact


@pytest.mark.parametrize(
    ("said", "replayed"),
    [(None, False), ("true", True), ("false", False), ("1", False), ('"true"', False)],
)
def test_only_true_says_that_an_event_is_played_back(said: str | None, replayed: bool) -> None:
    """Whatever else the claim holds, the event counts as live."""
    signature = token(claims(BODY, NOW, usher_replay=said))
    assert verify_event([signature], BODY, [SECRET], NOW).replayed is replayed


def test_what_is_signed_as_played_back_says_so() -> None:
    """And only that."""
    for replayed in (True, False):
        signature = sign_event(BODY, INSTANCE, NOW, SECRET, replayed=replayed)
        assert verify_event([signature], BODY, [SECRET], NOW).replayed is replayed


@pytest.mark.parametrize("last", range(256))
def test_every_last_octet_is_encoded_whole(last: int) -> None:
    """Only padding is cut off, no letter that looks like it."""
    payload = b"ab" + bytes([last])
    assert sign_compact(HEADER, payload, SECRET) == token(payload)


# --- what nobody vouches for ---------------------------------------------------------------------


def test_a_strangers_payload_is_read_as_strictly() -> None:
    """Only the signature is not asked; size, encoding and JSON are."""
    stranger = token(b'{"sub":"x"}', b'{"alg":"none"}', STRANGER)
    assert read_unverified(stranger) == {"sub": "x"}
    assert read_unverified(stranger, len(stranger)) == {"sub": "x"}
    for wrong, limit, check in [
        (stranger, len(stranger) - 1, Check.TOKEN_TOO_LARGE),
        ("a" * 4097, 4096, Check.TOKEN_TOO_LARGE),
        (stranger + "=", 4096, Check.TOKEN_ENCODING),
        (token(b"[]"), 4096, Check.TOKEN_JSON),
        (token(b"{}", b"[]"), 4096, Check.TOKEN_JSON),
    ]:
        with refused(check):
            read_unverified(wrong, limit)
    with refused(Check.TOKEN_TOO_LARGE):
        read_unverified("a" * 4097)
