"""What is checked before any claim is read: header count, size, shape, encoding, JSON, alg, key."""

from __future__ import annotations

from base64 import urlsafe_b64decode

import pytest

from tests.forge import ALPHABET, HEADER, STRANGER, claims, encode, good, seal, sized, token
from tests.forgeries import CLAIMS, SHAPES, Forgery, refused
from tests.support import NOON, SECRET
from usher.core.errors import Check, SignatureError
from usher.core.jws import open_compact, read_unverified, verify_event

NOW = int(NOON.timestamp())
BODY = b'{"event":"login"}'
GOOD = good(BODY, NOW)


def verify(*signatures: str) -> None:
    """Verify the body with these headers."""
    verify_event(signatures, BODY, [SECRET], NOW)


def test_a_good_token_is_accepted() -> None:
    """The forgeries below differ from this one in one thing each."""
    verify(GOOD)


@pytest.mark.parametrize("forgery", SHAPES.values(), ids=SHAPES.keys())
def test_a_forged_token_is_refused(forgery: Forgery) -> None:
    """Each check refuses by its own name."""
    with refused(forgery.check):
        verify(forgery.make(BODY, NOW))


HEADERS = {
    "no header": ([], Check.SIGNATURE_MISSING),
    "an empty header": ([""], Check.SIGNATURE_MISSING),
    "two empty headers": (["", ""], Check.SIGNATURE_MISSING),
    "the same twice": ([GOOD, GOOD], Check.SIGNATURE_REPEATED),
    "a good one, then a bad one": ([GOOD, "x"], Check.SIGNATURE_REPEATED),
    "a bad one, then a good one": (["x", GOOD], Check.SIGNATURE_REPEATED),
    "an empty one, then a good one": (["", GOOD], Check.SIGNATURE_REPEATED),
    "two joined by a comma": ([f"{GOOD},{GOOD}"], Check.SIGNATURE_REPEATED),
    "two joined by a comma and a space": ([f"{GOOD}, {GOOD}"], Check.SIGNATURE_REPEATED),
    "a comma before": ([f",{GOOD}"], Check.SIGNATURE_REPEATED),
    "a comma after": ([f"{GOOD},"], Check.SIGNATURE_REPEATED),
    "100 headers": ([GOOD] * 100, Check.SIGNATURE_REPEATED),
}


@pytest.mark.parametrize(("signatures", "check"), HEADERS.values(), ids=HEADERS.keys())
def test_only_exactly_one_signature_header_is_looked_at(
    signatures: list[str], check: Check
) -> None:
    """None, an empty one, or several are refused, even where one of them is good."""
    with refused(check):
        verify(*signatures)


# What no HTTP header can carry, or what HTTP trims; a platform might still hand it over.
SPELLINGS = {
    "a newline at the end": (f"{GOOD}\n", Check.TOKEN_ENCODING),
    "CR LF at the end": (f"{GOOD}\r\n", Check.TOKEN_ENCODING),
    "a space before": (f" {GOOD}", Check.TOKEN_ENCODING),
    "a space after": (f"{GOOD} ", Check.TOKEN_ENCODING),
    "only a space": (" ", Check.TOKEN_SHAPE),
    "a newline after the header": (GOOD.replace(".", "\n.", 1), Check.TOKEN_ENCODING),
    "a line separator": (f"{GOOD}\u2028", Check.TOKEN_ENCODING),
    "NUL": (f"{GOOD}\0", Check.TOKEN_ENCODING),
    "a letter that is not ASCII": (GOOD.replace("e", "\u00e9", 1), Check.TOKEN_ENCODING),
    "a Cyrillic letter": (GOOD.replace("e", "\u0435", 1), Check.TOKEN_ENCODING),
    "a full-width letter": (GOOD.replace("e", "\uff45", 1), Check.TOKEN_ENCODING),
    "an Arabic digit": (f"{GOOD[:-1]}\u0660", Check.TOKEN_ENCODING),
    "full-width dots": (GOOD.replace(".", "\uff0e"), Check.TOKEN_SHAPE),
    "half a surrogate pair": (f"{GOOD}\ud800", Check.TOKEN_ENCODING),
    "Bearer": (f"Bearer {GOOD}", Check.TOKEN_ENCODING),
    "in quotes": (f'"{GOOD}"', Check.TOKEN_ENCODING),
}


@pytest.mark.parametrize(("signature", "check"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_token_has_one_spelling(signature: str, check: Check) -> None:
    """A good token with anything around it or inside it is another token."""
    with refused(check):
        verify(signature)


def test_a_token_of_4096_characters_is_accepted() -> None:
    """The cap is 4 KiB, included."""
    verify(sized(BODY, NOW, 4096))


NEVER_FOLLOWED = {
    "kid": '"nf-ident"',
    "kid with a path": '"../../../../dev/null"',
    "kid with SQL": "\"x' UNION SELECT 'secret\"",
    "kid a list": '[{"k":1}]',
    "jku": '"http://127.0.0.1:9/keys"',
    "jwk": f'{{"kty":"oct","k":"{encode(STRANGER)}"}}',
    "x5u": '"http://127.0.0.1:9/cert.pem"',
    "x5c": '["AAAA"]',
    "x5t#S256": '"AAAA"',
    "cty": '"JWT"',
}


@pytest.mark.parametrize(("name", "value"), NEVER_FOLLOWED.items(), ids=NEVER_FOLLOWED.keys())
def test_header_fields_never_choose_the_key(name: str, value: str) -> None:
    """A well-signed token with them is accepted; the stranger whom they point to is not."""
    header = f'{{"alg":"HS256","{name.partition(" ")[0]}":{value}}}'.encode()
    verify(token(claims(BODY, NOW), header))
    with refused(Check.SIGNATURE_MISMATCH):
        verify(token(claims(BODY, NOW), header, STRANGER))


ORDER = {
    "missing before everything": ([], Check.SIGNATURE_MISSING),
    "repeated before size": (["a" * 5000, "b"], Check.SIGNATURE_REPEATED),
    "size before shape": (["." * 5000], Check.TOKEN_TOO_LARGE),
    "shape before encoding": (["=.="], Check.TOKEN_SHAPE),
    "encoding before JSON": (["AA==.AA==.AA=="], Check.TOKEN_ENCODING),
    "JSON before alg": ([seal(encode(b'{"alg":"none"}'), encode(b"["))], Check.TOKEN_JSON),
    "alg before crit": (
        [seal(encode(b'{"alg":"none","crit":[]}'), encode(b"{}"))],
        Check.ALGORITHM,
    ),
    "crit before the key": (
        [seal(encode(b'{"alg":"HS256","crit":[]}'), encode(b"{}"), STRANGER)],
        Check.CRITICAL_HEADER,
    ),
    "the key before iss": (
        [seal(encode(HEADER), encode(b"{}"), STRANGER)],
        Check.SIGNATURE_MISMATCH,
    ),
    "iss before sub": ([token(b"{}")], Check.CLAIM_ISS),
    "sub before iat": ([token(b'{"iss":"gotrue"}')], Check.CLAIM_SUB),
    "iat before sha256": (
        [token(claims(BODY, NOW, iat=None, sha256=None))],
        Check.CLAIM_IAT,
    ),
}


@pytest.mark.parametrize(("signatures", "check"), ORDER.values(), ids=ORDER.keys())
def test_the_first_check_that_fails_is_named(signatures: list[str], check: Check) -> None:
    """The order is the design's: nothing is parsed before its shape is checked."""
    with refused(check):
        verify(*signatures)


def test_open_compact_refuses_by_the_same_checks() -> None:
    """The signature layer alone refuses every forgery that is not about claims."""
    for name, forgery in SHAPES.items():
        with refused(forgery.check, name):
            open_compact(forgery.make(BODY, NOW), [SECRET])


def test_every_check_has_a_case_here() -> None:
    """None is without a test, and no two share a reason."""
    tested = {forgery.check for forgery in (SHAPES | CLAIMS).values()}
    tested |= {check for _, check in HEADERS.values()}
    assert tested == set(Check)
    assert len(set(Check)) == len(Check.__members__)


def test_a_refusal_says_nothing_to_the_caller() -> None:
    """Code, status and words are the same for each; only ``check`` and ``fact`` differ."""
    for check in Check:
        error = SignatureError(check, "a fact")
        assert (error.code, error.status) == ("signature_invalid", 401)
        assert (str(error), error.detail) == ("The signature was not accepted", "")


# --- the letters of base64url, all of them --------------------------------------------------------


@pytest.mark.parametrize("length", [2, 3, 6, 7])
def test_a_last_letter_is_read_only_where_its_unused_bits_are_zero(length: int) -> None:
    """Each of the 64, for each kind of last group: one text for the same octets, and no other."""
    for last in ALPHABET:
        segment = "e" * (length - 1) + last
        octets = urlsafe_b64decode(segment + "=" * (-length % 4))
        expected = Check.TOKEN_JSON if encode(octets) == segment else Check.TOKEN_ENCODING
        with refused(expected, segment):
            read_unverified(f"{segment}.e30.e30")


@pytest.mark.parametrize("segment", ["eeee", "eeeeeA", "eeeeeeA"])
def test_no_letter_outside_of_base64url_is_read_at_any_place(segment: str) -> None:
    """Not those of plain base64, either."""
    for place in range(len(segment)):
        for letter in map(chr, range(0x180)):
            if letter not in ALPHABET and letter != ".":
                wrong = segment[:place] + letter + segment[place + 1 :]
                with refused(Check.TOKEN_ENCODING):
                    read_unverified(f"e30.{wrong}.e30")


@pytest.mark.parametrize("length", [1, 5, 9])
def test_a_group_of_one_letter_is_refused(length: int) -> None:
    """Six bits are no octet."""
    with refused(Check.TOKEN_ENCODING):
        read_unverified(f"e30.{'A' * length}.e30")
