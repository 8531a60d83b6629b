"""What is checked before any claim is read: header count, size, shape, encoding, JSON, alg, key."""

from __future__ import annotations

from base64 import urlsafe_b64decode

import pytest

from tests.forge import ALPHABET, HEADER, STRANGER, claims, encode, good, seal, sized, token
from tests.forgeries import CLAIMS, SHAPES, Forgery
from tests.support import NOON, SECRET
from usher.core import errors
from usher.core.errors import SignatureError, TokenEncodingError, TokenJsonError
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
    """Each check refuses with its own error."""
    with pytest.raises(SignatureError) as refused:
        verify(forgery.make(BODY, NOW))
    assert type(refused.value) is forgery.error


HEADERS = {
    "no header": ([], errors.SignatureMissingError),
    "an empty header": ([""], errors.SignatureMissingError),
    "two empty headers": (["", ""], errors.SignatureMissingError),
    "the same twice": ([GOOD, GOOD], errors.SignatureRepeatedError),
    "a good one, then a bad one": ([GOOD, "x"], errors.SignatureRepeatedError),
    "a bad one, then a good one": (["x", GOOD], errors.SignatureRepeatedError),
    "an empty one, then a good one": (["", GOOD], errors.SignatureRepeatedError),
    "two joined by a comma": ([f"{GOOD},{GOOD}"], errors.SignatureRepeatedError),
    "two joined by a comma and a space": ([f"{GOOD}, {GOOD}"], errors.SignatureRepeatedError),
    "a comma before": ([f",{GOOD}"], errors.SignatureRepeatedError),
    "a comma after": ([f"{GOOD},"], errors.SignatureRepeatedError),
    "100 headers": ([GOOD] * 100, errors.SignatureRepeatedError),
}


@pytest.mark.parametrize(("signatures", "error"), HEADERS.values(), ids=HEADERS.keys())
def test_only_exactly_one_signature_header_is_looked_at(
    signatures: list[str], error: type[SignatureError]
) -> None:
    """None, an empty one, or several are refused, even where one of them is good."""
    with pytest.raises(error):
        verify(*signatures)


# What no HTTP header can carry, or what HTTP trims; a platform might still hand it over.
SPELLINGS = {
    "a newline at the end": (f"{GOOD}\n", errors.TokenEncodingError),
    "CR LF at the end": (f"{GOOD}\r\n", errors.TokenEncodingError),
    "a space before": (f" {GOOD}", errors.TokenEncodingError),
    "a space after": (f"{GOOD} ", errors.TokenEncodingError),
    "only a space": (" ", errors.TokenShapeError),
    "a newline after the header": (GOOD.replace(".", "\n.", 1), errors.TokenEncodingError),
    "a line separator": (f"{GOOD}\u2028", errors.TokenEncodingError),
    "NUL": (f"{GOOD}\0", errors.TokenEncodingError),
    "a letter that is not ASCII": (GOOD.replace("e", "\u00e9", 1), errors.TokenEncodingError),
    "a Cyrillic letter": (GOOD.replace("e", "\u0435", 1), errors.TokenEncodingError),
    "a full-width letter": (GOOD.replace("e", "\uff45", 1), errors.TokenEncodingError),
    "an Arabic digit": (f"{GOOD[:-1]}\u0660", errors.TokenEncodingError),
    "full-width dots": (GOOD.replace(".", "\uff0e"), errors.TokenShapeError),
    "half a surrogate pair": (f"{GOOD}\ud800", errors.TokenEncodingError),
    "Bearer": (f"Bearer {GOOD}", errors.TokenEncodingError),
    "in quotes": (f'"{GOOD}"', errors.TokenEncodingError),
}


@pytest.mark.parametrize(("signature", "error"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_token_has_one_spelling(signature: str, error: type[SignatureError]) -> None:
    """A good token with anything around it or inside it is another token."""
    with pytest.raises(error):
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
    with pytest.raises(errors.SignatureMismatchError):
        verify(token(claims(BODY, NOW), header, STRANGER))


ORDER = {
    "missing before everything": ([], errors.SignatureMissingError),
    "repeated before size": (["a" * 5000, "b"], errors.SignatureRepeatedError),
    "size before shape": (["." * 5000], errors.TokenTooLargeError),
    "shape before encoding": (["=.="], errors.TokenShapeError),
    "encoding before JSON": (["AA==.AA==.AA=="], errors.TokenEncodingError),
    "JSON before alg": ([seal(encode(b'{"alg":"none"}'), encode(b"["))], errors.TokenJsonError),
    "alg before crit": (
        [seal(encode(b'{"alg":"none","crit":[]}'), encode(b"{}"))],
        errors.AlgorithmError,
    ),
    "crit before the key": (
        [seal(encode(b'{"alg":"HS256","crit":[]}'), encode(b"{}"), STRANGER)],
        errors.CriticalHeaderError,
    ),
    "the key before iss": (
        [seal(encode(HEADER), encode(b"{}"), STRANGER)],
        errors.SignatureMismatchError,
    ),
    "iss before sub": ([token(b"{}")], errors.IssuerClaimError),
    "sub before iat": ([token(b'{"iss":"gotrue"}')], errors.SubjectClaimError),
    "iat before sha256": (
        [token(claims(BODY, NOW, iat=None, sha256=None))],
        errors.IssuedAtClaimError,
    ),
}


@pytest.mark.parametrize(("signatures", "error"), ORDER.values(), ids=ORDER.keys())
def test_the_first_check_that_fails_is_named(
    signatures: list[str], error: type[SignatureError]
) -> None:
    """The order is the design's: nothing is parsed before its shape is checked."""
    with pytest.raises(error):
        verify(*signatures)


def test_open_compact_raises_the_same_errors() -> None:
    """The signature layer alone refuses every forgery that is not about claims."""
    for name, forgery in SHAPES.items():
        with pytest.raises(SignatureError) as refused:
            open_compact(forgery.make(BODY, NOW), [SECRET])
        assert type(refused.value) is forgery.error, name


def test_every_check_has_an_error_of_its_own_and_a_case_here() -> None:
    """No error of the tree is without a test, and no two share a reason."""
    tested = {forgery.error for forgery in (SHAPES | CLAIMS).values()}
    tested |= {error for _, error in HEADERS.values()}
    tested.add(errors.InstanceRefusedError)  # in test_jws_claims.py: it needs a setting
    leaves = {error for error in _subclasses(SignatureError) if not error.__subclasses__()}
    assert tested == leaves
    assert len({error.reason for error in leaves}) == len(leaves)


def test_a_refusal_says_nothing_to_the_caller() -> None:
    """Code, status and words are the same for each; only ``reason`` and ``fact`` differ."""
    for error in _subclasses(SignatureError):
        refused = error("a fact")
        assert (refused.code, refused.status) == ("signature_invalid", 401)
        assert (str(refused), refused.detail) == ("The signature was not accepted", "")


def _subclasses(error: type[SignatureError]) -> set[type[SignatureError]]:
    found = set(error.__subclasses__())
    return found.union(*map(_subclasses, found))


# --- the letters of base64url, all of them --------------------------------------------------------


@pytest.mark.parametrize("length", [2, 3, 6, 7])
def test_a_last_letter_is_read_only_where_its_unused_bits_are_zero(length: int) -> None:
    """Each of the 64, for each kind of last group: one text for the same octets, and no other."""
    for last in ALPHABET:
        segment = "e" * (length - 1) + last
        octets = urlsafe_b64decode(segment + "=" * (-length % 4))
        with pytest.raises(SignatureError) as refused:
            read_unverified(f"{segment}.e30.e30")
        expected = TokenJsonError if encode(octets) == segment else TokenEncodingError
        assert type(refused.value) is expected, segment


@pytest.mark.parametrize("segment", ["eeee", "eeeeeA", "eeeeeeA"])
def test_no_letter_outside_of_base64url_is_read_at_any_place(segment: str) -> None:
    """Not those of plain base64, either."""
    for place in range(len(segment)):
        for letter in map(chr, range(0x180)):
            if letter not in ALPHABET and letter != ".":
                wrong = segment[:place] + letter + segment[place + 1 :]
                with pytest.raises(TokenEncodingError):
                    read_unverified(f"e30.{wrong}.e30")


@pytest.mark.parametrize("length", [1, 5, 9])
def test_a_group_of_one_letter_is_refused(length: int) -> None:
    """Six bits are no octet."""
    with pytest.raises(TokenEncodingError):
        read_unverified(f"e30.{'A' * length}.e30")
