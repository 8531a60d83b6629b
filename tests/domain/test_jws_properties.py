"""Properties of the verifier: for any input it answers with Claims or SignatureError only."""

from __future__ import annotations

import contextlib
import json
from typing import Any
from uuid import UUID

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.forge import ALPHABET, HEADER, claims, encode, good, seal, token
from tests.profiles import examples
from tests.support import NOON, SECRET
from usher.core.errors import SignatureError
from usher.core.jws import Claims, open_compact, sign_compact, sign_event, verify_event
from usher.emulator.payload import ZERO_INSTANCE

NOW = int(NOON.timestamp())
BODY = b'{"event":"login"}'
GOOD = good(BODY, NOW)
PADDED = token(claims(BODY, NOW, x='"\u00e9"'), HEADER + b" ")  # has unused bits in all segments

ANY_CHARACTER = st.characters(exclude_categories=[])
NUMBERS = (
    st.integers()
    | st.integers(-9, 9).map(lambda digit: digit * 10**400)
    | st.floats()
    | st.integers(NOW - 400, NOW + 100)
)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(ANY_CHARACTER, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
DIGEST = json.loads(claims(BODY, NOW))["sha256"]
PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "iss": st.just("gotrue") | JSON,
        "sub": st.just(str(ZERO_INSTANCE)) | st.uuids().map(str) | JSON,
        "iat": NUMBERS | JSON,
        "exp": NUMBERS | JSON,
        "nbf": NUMBERS | JSON,
        "sha256": st.just(DIGEST) | JSON,
    },
)
SEGMENTS = st.text(ALPHABET, max_size=60) | st.binary(max_size=60).map(encode)


def verify(signature: str) -> Claims:
    """Verify one signature of the body."""
    return verify_event([signature], BODY, [SECRET], NOW)


def refused(signature: str) -> bool:
    """Whether it is refused; any exception but SignatureError fails the test."""
    try:
        verify(signature)
    except SignatureError:
        return True
    return False


@settings(max_examples=examples(100))
@given(data=st.data(), original=st.sampled_from([GOOD, PADDED]))
def test_any_change_of_one_character_is_refused(data: st.DataObject, original: str) -> None:
    """Replaced, added or left out: no two tokens that differ in a character are both good."""
    at = data.draw(st.integers(0, len(original) - 1), "at")
    new = data.draw(st.sampled_from(ALPHABET + ".=") | ANY_CHARACTER, "new")
    changed = {
        "replaced": original[:at] + new + original[at + 1 :],
        "added": original[:at] + new + original[at:],
        "left out": original[:at] + original[at + 1 :],
    }
    for how, signature in changed.items():
        assert signature == original or refused(signature), how


def test_the_last_character_has_one_good_value() -> None:
    """Of the 64 last characters, the three that spell the same octets are refused too."""
    for original in (GOOD, PADDED):
        accepted = [c for c in ALPHABET if not refused(original[:-1] + c)]
        assert accepted == [original[-1]]


@settings(max_examples=examples(100))
@given(st.text(ANY_CHARACTER) | st.lists(SEGMENTS, max_size=5).map(".".join))
def test_any_text_is_refused_with_a_signature_error(text: str) -> None:
    """A verifier that fails in another way is a hole or an outage."""
    assert refused(text)


@settings(deadline=None)
@given(st.lists(st.text(max_size=40), max_size=4))
def test_any_list_of_headers_is_refused_with_a_signature_error(values: list[str]) -> None:
    """However many there are and whatever they hold."""
    with contextlib.suppress(SignatureError):
        verify_event(values, BODY, [SECRET], NOW)
        raise AssertionError("accepted")


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_signed_octets_are_refused_with_a_signature_error(header: bytes, text: bytes) -> None:
    """A good signature does not make a header or a payload of noise."""
    assert refused(seal(encode(header), encode(text)))
    assert refused(token(text))


@settings(max_examples=examples(200))
@given(PAYLOADS | st.dictionaries(st.text(max_size=8), JSON, max_size=6))
@example({"iss": "gotrue", "sub": str(ZERO_INSTANCE), "iat": 10**400, "sha256": DIGEST})
@example({"iss": "gotrue", "sub": str(ZERO_INSTANCE), "iat": -(10**400), "sha256": DIGEST})
def test_any_signed_claims_raise_nothing_but_a_signature_error(payload: dict[str, Any]) -> None:
    """Claims of any JSON type and any size are either good or refused."""
    if not refused(token(json.dumps(payload).encode())):
        assert {"iss", "sub", "iat", "sha256"} <= payload.keys()
        assert payload["iss"] == "gotrue"
        assert payload["sha256"] == DIGEST


@settings(deadline=None)
@given(
    body=st.binary(max_size=500),
    instance_id=st.uuids(),
    issued_at=st.integers(0, 2**40),
    secret=st.binary(min_size=32, max_size=100),
    age=st.integers(-60, 300) | st.floats(-60, 300, width=16),
)
def test_what_is_signed_verifies(
    body: bytes, instance_id: UUID, issued_at: int, secret: bytes, age: float
) -> None:
    """Signing and verifying agree about every body, instance, time and secret."""
    signature = sign_event(body, instance_id, issued_at, secret)
    found = verify_event([signature], body, [SECRET, secret], issued_at + age)
    assert (found.instance_id, found.issued_at) == (instance_id, issued_at)
    assert found.key_index == 1 or secret == SECRET


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=20), max_size=6))
def test_what_is_sealed_opens(payload: dict[str, Any]) -> None:
    """The signature layer hands back the payload that went in."""
    text = json.dumps(payload, ensure_ascii=False)
    if "\x00" in "".join([*payload, *map(str, payload.values())]):
        text = "{}"
    opened, _ = open_compact(sign_compact(HEADER, text.encode(), SECRET), [SECRET])
    assert opened == json.loads(text)
