"""Keys of machines: their spelling, what can be made, and when one holds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import NOON
from usher.core.domain.keys import (
    KEY_BITS,
    ApiKey,
    KeyState,
    NewKey,
    Scope,
    digest_of,
    key_document,
    read_scopes,
    spelled,
)
from usher.core.errors import KeyInvalidError

NUMBERS = st.integers(0, 2**KEY_BITS - 1)


@given(NUMBERS, NUMBERS)
def test_every_number_is_a_key_of_its_own(one: int, other: int) -> None:
    """Of one length, without anything that a shell or a URL would change."""
    assert re.fullmatch(r"usher_[0-9A-Za-z]{43}", spelled(one))
    assert (spelled(one) == spelled(other)) is (one == other)
    assert (digest_of(spelled(one)) == digest_of(spelled(other))) is (one == other)


@pytest.mark.parametrize(
    ("number", "letters"),
    [(0, "0" * 43), (61, "z" + "0" * 42), (62, "01" + "0" * 41), (62**42, "0" * 42 + "1")],
)
def test_a_key_is_spelled_from_its_lowest_digit(number: int, letters: str) -> None:
    """To the base of 62."""
    assert spelled(number) == f"usher_{letters}"


@pytest.mark.parametrize(
    "text",
    [
        "", "usher_", "usher_" + "x" * 42, "usher_" + "x" * 44, "Usher_" + "x" * 43,
        "usher_" + "x" * 42 + "-", "usher_" + "x" * 42 + "ä", "usher_" + "x" * 43 + "\n",
        " usher_" + "x" * 43, "usher_" + "x" * 42 + "\ud800", "usher_" + "٣" * 43,
    ],
)  # fmt: skip
def test_what_cannot_be_a_key_has_no_digest(text: str) -> None:
    """So nobody looks it up."""
    assert digest_of(text) == ""


@pytest.mark.parametrize(
    "name", ["", "Feed", "a b", ".a", "-a", "_a", "a/b", "ä", "a:b", "x" * 51, "a\n", "٣"]
)
def test_a_name_that_no_key_can_have(name: str) -> None:
    """It stands in the audit and in an address."""
    with pytest.raises(KeyInvalidError, match="name"):
        new(name=name).check(NOON)


@pytest.mark.parametrize("name", ["a", "7", "crm.eu-1_b", "x" * 50])
def test_a_name_that_a_key_can_have(name: str) -> None:
    """Small letters and digits, and after the first one three signs."""
    new(name=name).check(NOON)


def new(**fields: Any) -> NewKey:
    """A key that can be made, but for these fields."""
    usual: dict[str, Any] = {
        "name": "feed",
        "scopes": frozenset(Scope),
        "expires_at": NOON + timedelta(days=90),
    }
    return NewKey(**usual | fields)


def test_a_key_needs_a_scope_and_an_end_that_lies_ahead() -> None:
    """Or none at all, where that is said."""
    new(expires_at=None).check(NOON)
    with pytest.raises(KeyInvalidError, match="needs a scope: changes:read"):
        new(scopes=frozenset()).check(NOON)
    with pytest.raises(KeyInvalidError, match="past"):
        new(expires_at=NOON).check(NOON)


def test_scopes_are_read_by_name() -> None:
    """The sentence names those that there are."""
    assert read_scopes(["changes:read", "roles:write", "changes:read"]) == {
        Scope.CHANGES_READ,
        Scope.ROLES_WRITE,
    }
    for wrong in ("", "keys:write", "Changes:read", "changes:read "):
        with pytest.raises(KeyInvalidError, match=r"is no scope\. There are: changes:read"):
            read_scopes([wrong])


def test_no_scope_reaches_keys_or_anything_of_the_sites_own() -> None:
    """Those that there are, told one by one."""
    assert set(Scope) == {"changes:read", "users:read", "roles:write", "clients:name"}


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, KeyState.OPEN),
        ({"expires_at": NOON + timedelta(microseconds=1)}, KeyState.OPEN),
        ({"expires_at": NOON}, KeyState.EXPIRED),
        ({"revoked_at": NOON}, KeyState.REVOKED),
        ({"revoked_at": NOON, "expires_at": NOON}, KeyState.REVOKED),
    ],
)
def test_a_key_holds_until_it_ends(fields: dict[str, Any], state: KeyState) -> None:
    """Revoked goes before expired: somebody meant it."""
    key = ApiKey("feed", "d", frozenset({Scope.USERS_READ}), NOON, "cli:ada", **fields)
    assert key.state(NOON) is state
    document = key_document(key, NOON)
    assert document["state"] == state.value
    assert document["scopes"] == ["users:read"]
    assert "digest" not in document
