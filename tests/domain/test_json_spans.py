"""Spans of members, found in pieces: the same as by reading every byte in turn."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.profiles import examples
from usher.core import json_spans
from usher.core.json_spans import PIECE_BYTES, Spans

MIB = 1024 * 1024
CONTENTS = {
    "letters": (b'"', b"x", b'"'),
    "escapes": (b'"', b"\\u0000\\ud800", b'"'),
    "quotes": (b'"', b'\\"', b'"'),
    "backslashes": (b'"', b"\\\\", b'"'),
    "digits": (b"", b"9", b""),
    "spaces": (b"", b" ", b"1"),
    "lists": (b"[", b"[],", b"1]"),
    "strings": (b"[", b'"",', b"1]"),
    "brackets in strings": (b"[", b'"]}[{\\"",', b"1]"),
    "keys": (b"{", b'"k":"v",', b'"k":1}'),
    "levels": (b"[", b"[" * 100 + b"]" * 100 + b",", b"1]"),
    "branches": (b"[", b"[[[],[]],[[],[{}]]],", b"1]"),
    "a comb": (b"[", b"[{}," * 50 + b"1" + b"]" * 50 + b",", b"1]"),
    "objects": (b"[", b'{"a":' * 100 + b"1" + b"}" * 100 + b",", b"1]"),
}


def text(rng: Random, characters: str, longest: int) -> str:
    """Some of the characters."""
    return "".join(rng.choices(characters, k=rng.randrange(longest + 1)))


def value(rng: Random, leaves: int) -> Any:
    """At most so many leaves, nested at random; the strings look like what is around them."""
    if leaves < 2:
        return rng.choice((None, [], {}, rng.randrange(10**9), text(rng, 'a"\\]}[{, ', 40)))
    inner: list[Any] = []
    while leaves > 0:
        part = rng.randint(1, leaves)
        inner.append(value(rng, part - 1))
        leaves -= part
    return inner if rng.random() < 0.5 else {text(rng, '"\\]}', 3): each for each in inner}


def document(seed: int) -> dict[str, Any]:
    """An object; Hypothesis itself would draw each character of it, at thirty times the cost."""
    rng = Random(seed)
    return {text(rng, 'ab"\\', 3): value(rng, rng.randint(1, 60)) for _ in range(rng.randrange(4))}


def found(data: bytes, pause: Callable[[], None] | None = None) -> dict[str, bytes]:
    """Each member's value as its bytes."""
    members, end = Spans(data, pause).members()
    assert end == len(data)
    return {member.key: data[member.start : member.end] for member in members}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("size", [300_000, MIB + 1])
def test_a_large_value_ends_where_it_ends(content: str, size: int) -> None:
    """Of whatever it consists; and others get a turn every so often."""
    before, again, after = CONTENTS[content]
    value = b"".join((before, again * (size // len(again)), after))
    pauses: list[None] = []
    data = b'{"a":"x","large":%s,"b":[1]}' % value
    values = found(data, lambda: pauses.append(None))
    assert values == {"a": b'"x"', "large": value.lstrip(), "b": b"[1]"}
    assert len(pauses) >= size // PIECE_BYTES // 2 - 1


def test_a_value_without_an_end_is_an_error() -> None:
    """However much of it there is."""
    for content in ("quotes", "lists", "levels", "keys", "strings"):
        before, again, _ = CONTENTS[content]
        with pytest.raises((IndexError, ValueError)):
            Spans(b'{"a":' + before + again * 100_000).members()


@given(seed=st.integers(0, 2**32), spaces=st.booleans())
@settings(max_examples=examples(300))
def test_small_pieces_find_what_a_parser_finds(seed: int, spaces: bool) -> None:
    """Every boundary between two pieces is met somewhere."""
    expected = document(seed)
    data = json.dumps(expected, indent=1 if spaces else None).encode()
    for piece, steps in ((16, 2), (2, 1), (7, 3)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_spans, "PIECE_BYTES", piece)
            patch.setattr(json_spans, "FINE_STEPS", steps)
            values = {key: json.loads(octets) for key, octets in found(data).items()}
        assert values == expected
