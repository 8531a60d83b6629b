"""Invitation codes: their spelling, their state, and what may be made."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support import NOON
from usher.core.bounds import MAX_CODE_ROLES, MAX_GRANTED_BYTES, MAX_ROLE_CHARACTERS
from usher.core.domain.codes import (
    ALPHABET,
    CODE_BITS,
    Code,
    CodeState,
    NewCodes,
    digest_of,
    given_code,
    normal,
    spelled,
)
from usher.core.errors import CodeInvalidError
from usher.core.strict_json import dumps, written_bytes

DAY = timedelta(days=1)
AT = NOON.timestamp()
CODE = Code(UUID(int=7), "d", "", 1, 0, (), NOON, "cli:ada")


@given(st.integers(0, 2**CODE_BITS - 1), st.integers(0, 2**CODE_BITS - 1))
def test_every_number_has_a_spelling_of_its_own(one: int, other: int) -> None:
    """Fifteen letters without look-alikes, in groups, that are their own normal spelling."""
    text = spelled(one)
    assert [len(group) for group in text.split("-")] == [5, 5, 5]
    assert set(text) <= {*ALPHABET, "-"}
    assert normal(text) == text.replace("-", "")
    assert (spelled(other) == text) == (one == other)


@pytest.mark.parametrize(
    "typed",
    [
        "7HQ2M-9KXTD-0BW1P",
        "7hq2m 9kxtd 0bw1p",
        " 7HQ2M9KXTDOBWIP\n",
        "7hq2m\u20109kxtd\u2013Obwlp",
        "７ＨＱ２Ｍ９ＫＸＴＤ０ＢＷ１Ｐ",  # noqa: RUF001
    ],
)
def test_a_code_is_known_however_people_type_it(typed: str) -> None:
    """Case, spaces, hyphens, full width and letters that look like digits do not matter."""
    wanted = hashlib.sha256(b"7HQ2M9KXTD0BW1P").hexdigest()
    assert digest_of(typed) == wanted


@pytest.mark.parametrize(
    "typed",
    ["", "short", "A" * 11, "A" * 65, "A" * 200, 12345678901234, ["A" * 15], None, True,
     "ABCDEFGHJKMN\x00PQ", "ABCDEFGHJKMN\ud800PQ", {}],
)  # fmt: skip
def test_what_cannot_be_a_code_has_no_digest(typed: object) -> None:
    """Nothing is looked up for it."""
    assert digest_of(typed) == ""


@given(st.one_of(st.text(), st.integers(), st.lists(st.text()), st.none()))
def test_whatever_a_person_types_is_a_digest_or_nothing(typed: object) -> None:
    """And never an error."""
    found = digest_of(typed)
    assert found == "" or len(found) == 64


@pytest.mark.parametrize(
    ("metadata", "key", "found"),
    [
        (None, "code", None),
        ({}, "code", None),
        ({"code": "  "}, "code", None),
        ({"code": "x"}, "code", "x"),
        ({"code": 5}, "code", 5),
        ({"code": None}, "code", None),
        ({"other": "x"}, "code", None),
        ({"": "x"}, "", None),
    ],
)
def test_one_named_key_holds_the_code(
    metadata: dict[str, Any] | None, key: str, found: object
) -> None:
    """A blank one is none."""
    assert given_code(metadata, key) == found


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, CodeState.OPEN),
        ({"used": 1}, CodeState.USED_UP),
        ({"used": 1, "allowed": 2}, CodeState.OPEN),
        ({"ends_at": NOON}, CodeState.ENDED),
        ({"ends_at": NOON + timedelta(seconds=1)}, CodeState.OPEN),
        ({"ends_at": NOON, "used": 1}, CodeState.ENDED),
        ({"revoked_at": NOON + DAY, "ends_at": NOON, "used": 1}, CodeState.REVOKED),
    ],
)
def test_a_code_has_one_state_at_a_time(changes: dict[str, Any], state: CodeState) -> None:
    """Its end is the first moment that is too late."""
    assert replace(CODE, **changes).state(AT) is state


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"spelling": "short"}, "12 to 64 letters and digits; this one has 5"),
        ({"spelling": "A" * 65}, "this one has 65"),
        ({"spelling": "A" * 15, "count": 2}, "one code"),
        ({"allowed": 0}, "1 to 100000 times"),
        ({"allowed": 100_001}, "1 to 100000 times"),
        ({"label": "x" * 201}, "at most 200 characters"),
        ({"label": "\x00"}, "at most 200 characters"),
        ({"roles": (" ",)}, "is not a role name"),
        ({"roles": ("a", "a")}, "each once"),
        ({"roles": tuple(map(str, range(21)))}, "at most 20 roles"),
        ({"roles_until": NOON + DAY}, "needs roles"),
        ({"roles": ("a",), "roles_until": NOON}, "lies in the past"),
        ({"ends_at": NOON - DAY}, "lies in the past"),
    ],
)
def test_a_code_that_nobody_could_use_is_not_made(changes: dict[str, Any], why: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(CodeInvalidError, match=why):
        NewCodes(**changes).check(NOON)


def test_a_code_that_can_be_used_is_made() -> None:
    """With everything that there is."""
    NewCodes(3, 30, ("pupil", "reader"), NOON + DAY, NOON + DAY, "Class 7b").check(NOON)
    NewCodes(spelling="class-of-2026-physics").check(NOON)


def test_the_roles_of_one_code_fit_into_a_token() -> None:
    """However long they are, and however Identity escapes them."""
    roles = [f"{number:02}" + "<" * (MAX_ROLE_CHARACTERS - 2) for number in range(MAX_CODE_ROLES)]
    assert written_bytes(dumps(roles)) <= MAX_GRANTED_BYTES
