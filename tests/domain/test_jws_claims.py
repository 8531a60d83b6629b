"""What is checked once the signature is good: iss, sub, instance, iat, exp, nbf, sha256."""

from __future__ import annotations

import hashlib
import json
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest

from tests.forge import claims, good, token
from tests.forgeries import CLAIMS, Forgery, refused
from tests.support import NOON, SECRET
from usher.core.errors import Check, SignatureError
from usher.core.jws import Claims, Tolerance, verify_event
from usher.emulator.payload import ZERO_INSTANCE

NOW = int(NOON.timestamp())
BODY = b'{"event":"login"}'
INSTANCE = UUID("5a6c2a0e-7a59-4a70-9d1b-7c8e2e2f0a51")


def verify(payload: bytes, now: float = NOW, **options: Any) -> Claims:
    """Verify a well-signed payload."""
    return verify_event([token(payload)], BODY, [SECRET], now, **options)


@pytest.mark.parametrize("forgery", CLAIMS.values(), ids=CLAIMS.keys())
def test_a_wrong_claim_is_refused(forgery: Forgery) -> None:
    """A good signature is not enough: each claim has a check of its own."""
    with refused(forgery.check):
        verify_event([forgery.make(BODY, NOW)], BODY, [SECRET], NOW)


def test_good_claims_are_returned() -> None:
    """The result is the instance, the time, our own digest of the body, and the secret's index."""
    found = verify(claims(BODY, NOW, sub=f'"{INSTANCE}"'))
    assert found == Claims(INSTANCE, NOW, hashlib.sha256(BODY).hexdigest(), 0)


SPELT: dict[str, dict[str, Any]] = {
    "good": {},
    "of another issuer": {"iss": "netlify"},
    "no issuer": {"iss": None},
    "an instance in capitals": {"sub": str(INSTANCE).upper()},
    "no instance": {"sub": "1"},
    "a text as a time": {"iat": str(NOW)},
    "a fraction as a time": {"iat": NOW + 0.5},
    "true as a time": {"iat": True},
    "old": {"iat": NOW - 301},
    "ahead": {"iat": 10**30},
    "another digest": {"sha256": "0" * 64},
    "no digest": {"sha256": 5},
    "expired": {"exp": NOW - 1},
    "played back": {"usher_replay": True},
    "triggered": {"usher_trigger": True},
}


@pytest.mark.parametrize("changed", SPELT.values(), ids=SPELT.keys())
def test_the_order_of_claims_means_nothing(changed: dict[str, Any]) -> None:
    """Identity's own is read at once, any other step by step: both find the same."""
    digest = hashlib.sha256(BODY).hexdigest()
    payload = {"iss": "gotrue", "sub": str(INSTANCE), "iat": NOW, "sha256": digest, **changed}

    def found(claims: dict[str, Any]) -> Any:
        try:
            return verify(json.dumps(claims, separators=(",", ":")).encode())
        except SignatureError as error:
            return error.check, error.fact

    assert found(payload) == found(dict(reversed(payload.items())))


# --- iat -----------------------------------------------------------------------------------------

WINDOW = [
    ("now", 0, None),
    ("300 s back", -300, None),
    ("301 s back", -301, Check.STALE),
    ("a day back", -86_400, Check.STALE),
    ("60 s ahead", 60, None),
    ("61 s ahead", 61, Check.FUTURE),
    ("a day ahead", 86_400, Check.FUTURE),
]


@pytest.mark.parametrize(
    ("offset", "check"), [row[1:] for row in WINDOW], ids=[row[0] for row in WINDOW]
)
def test_iat_lies_within_300_s_back_and_60_s_ahead(offset: int, check: Check | None) -> None:
    """Both ends belong to the window."""
    if check is None:
        assert verify(claims(BODY, NOW + offset)).issued_at == NOW + offset
    else:
        with refused(check):
            verify(claims(BODY, NOW + offset))


@pytest.mark.parametrize(
    ("offset", "now", "check"),
    [(-300, NOW + 0.5, Check.STALE), (60, NOW - 0.5, Check.FUTURE), (-299, NOW + 0.5, None)],
    ids=["300.5 s back", "60.5 s ahead", "299.5 s back"],
)
def test_the_window_is_measured_with_the_clocks_fraction(
    offset: int, now: float, check: Check | None
) -> None:
    """``iat`` has whole seconds, our clock has not; nothing is rounded in anyone's favour."""
    if check is None:
        verify(claims(BODY, NOW + offset), now)
    else:
        with refused(check):
            verify(claims(BODY, NOW + offset), now)


def test_the_window_is_a_parameter() -> None:
    """Settings decide how wide it is."""
    narrow = Tolerance(back_seconds=5, ahead_seconds=0)
    verify(claims(BODY, NOW - 5), tolerance=narrow)
    with refused(Check.STALE):
        verify(claims(BODY, NOW - 6), tolerance=narrow)
    with refused(Check.FUTURE):
        verify(claims(BODY, NOW + 1), tolerance=narrow)


def test_a_refusals_fact_is_the_age() -> None:
    """The log can say how far off the clock is."""
    with refused(Check.STALE) as stale:
        verify(claims(BODY, NOW - 301))
    with refused(Check.FUTURE) as ahead:
        verify(claims(BODY, NOW + 61))
    assert (stale.value.fact, ahead.value.fact) == ("301 s old", "61 s ahead")


# --- exp and nbf, which Identity does not send ---------------------------------------------------

GOOD_TIMES = {
    "exp ahead": {"exp": str(NOW + 1)},
    "exp ahead by a fraction": {"exp": f"{NOW}.5"},
    "exp ahead by 10^400": {"exp": "1" + "0" * 400},
    "nbf now": {"nbf": str(NOW)},
    "nbf past": {"nbf": "0"},
    "nbf past, a float": {"nbf": f"{NOW - 1}.5"},
    "both": {"exp": str(NOW + 1), "nbf": str(NOW - 1)},
}


@pytest.mark.parametrize("changed", GOOD_TIMES.values(), ids=GOOD_TIMES.keys())
def test_a_token_in_its_time_is_accepted(changed: dict[str, str]) -> None:
    """A NumericDate may be an integer or a float (RFC 7519, section 2)."""
    verify(claims(BODY, NOW, **changed))


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"exp": str(NOW)}, Check.CLAIM_EXP),
        ({"exp": f"{NOW}.0"}, Check.CLAIM_EXP),
        ({"nbf": str(NOW + 1)}, Check.CLAIM_NBF),
        ({"nbf": f"{NOW}.5"}, Check.CLAIM_NBF),
        ({"nbf": "true"}, Check.CLAIM_NBF),
        ({"nbf": "false"}, Check.CLAIM_NBF),
        ({"exp": "true"}, Check.CLAIM_EXP),
    ],
    ids=[
        "exp now",
        "exp now, a float",
        "nbf 1 s ahead",
        "nbf half a second ahead",
        "nbf true",
        "nbf false",
        "exp true",
    ],
)
def test_exp_and_nbf_have_no_tolerance(changed: dict[str, str], check: Check) -> None:
    """``exp`` is the first moment that is too late, ``nbf`` the first that is not too early."""
    with refused(check):
        verify(claims(BODY, NOW, **changed))


# --- the body ------------------------------------------------------------------------------------

ALTERED = {
    "a byte changed": b'{"event":"logim"}',
    "a byte more": BODY + b" ",
    "a byte less": BODY[:-1],
    "empty": b"",
    "written again with spaces": b'{"event": "login"}',
    "the same in UTF-16": BODY.decode().encode("utf-16"),
}


@pytest.mark.parametrize("body", ALTERED.values(), ids=ALTERED.keys())
def test_an_altered_body_is_refused(body: bytes) -> None:
    """The signature is about these bytes and no others."""
    with refused(Check.CLAIM_SHA256):
        verify_event([good(BODY, NOW)], body, [SECRET], NOW)


@pytest.mark.parametrize("body", [b"", b"\x00\xff", b"x" * 300_000], ids=["empty", "bytes", "long"])
def test_any_bytes_can_be_signed(body: bytes) -> None:
    """What a body means is not the signature's business."""
    verify_event([good(body, NOW)], body, [SECRET], NOW)


# --- the instance --------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", [str(INSTANCE), str(INSTANCE).upper()], ids=["lower", "upper"])
def test_an_instance_is_read_in_either_letter_case(spelling: str) -> None:
    """A UUID is a number: letter case is no part of it (RFC 9562, section 4)."""
    assert verify(claims(BODY, NOW, sub=f'"{spelling}"')).instance_id == INSTANCE


def test_the_zero_instance_is_one_like_any_other() -> None:
    """A server of one's own sends it. Which instance is ours is asked later, of the store."""
    assert verify(claims(BODY, NOW)).instance_id == ZERO_INSTANCE


def test_unknown_claims_are_ignored() -> None:
    """A sender that grows new claims is still understood."""
    verify(claims(BODY, NOW, aud='["x"]', jti='"1"', role='"admin"', x="null"))


# --- the subject's spelling ----------------------------------------------------------------------


@pytest.mark.parametrize("letter", ["g", "G", "-", "0", "00", " ", "{", "\u0661"])
def test_a_subject_with_one_letter_wrong_is_refused(letter: str) -> None:
    """At any place: 8-4-4-4-12 hex digits, and no other text that a UUID could be read from."""
    spelled = str(INSTANCE)
    for place, right in enumerate(spelled):
        wrong = f"{spelled[:place]}{letter}{spelled[place + 1 :]}"
        if right == letter or (letter == "0" and right != "-"):
            continue
        with refused(Check.CLAIM_SUB):
            verify(claims(BODY, NOW, sub=f'"{wrong}"'))


def test_a_subject_that_lacks_a_piece_is_refused() -> None:
    """Any piece, from one letter to all of them."""
    spelled = str(INSTANCE)
    for start, end in combinations(range(len(spelled) + 1), 2):
        with refused(Check.CLAIM_SUB):
            verify(claims(BODY, NOW, sub=f'"{spelled[:start]}{spelled[end:]}"'))
