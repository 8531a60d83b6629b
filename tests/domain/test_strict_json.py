"""One reading of a JSON document, or a clear refusal."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.profiles import examples
from usher.core import strict_json
from usher.core.bounds import MAX_DEPTH
from usher.core.strict_json import StrictJsonError, cannot_travel, dumps, loads_object

READ: dict[str, tuple[bytes, dict[str, Any]]] = {
    "empty": (b"{}", {}),
    "white space around": (b' \t\r\n{"a" : 1}\n', {"a": 1}),
    "every type": (
        b'{"a":[null,true,false,0,-1.5e3,"x"],"b":{}}',
        {"a": [None, True, False, 0, -1500.0, "x"], "b": {}},
    ),
    "one key in two objects": (b'{"a":{"k":1},"b":{"k":2}}', {"a": {"k": 1}, "b": {"k": 2}}),
    "keys that differ in letter case": (b'{"a":1,"A":2}', {"a": 1, "A": 2}),
    "an empty key": (b'{"":1}', {"": 1}),
    "UTF-8": ('{"é":"☃"}'.encode(), {"é": "☃"}),
    "an escaped pair of surrogates": (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    "an emoji as it is": ('{"a":"\U0001f600"}'.encode(), {"a": "\U0001f600"}),
    "the text \\u0000": (b'{"a":"\\\\u0000"}', {"a": "\\u0000"}),
    "the text \\ud800": (b'{"a":"\\\\ud800"}', {"a": "\\ud800"}),
    "U+0001, escaped": (b'{"a":"\\u0001"}', {"a": "\x01"}),
    "U+FEFF inside a text": (b'{"a":"\xef\xbb\xbf"}', {"a": "\ufeff"}),
    "a large integer": (b'{"a":%d}' % 10**400, {"a": 10**400}),
    "the largest double": (b'{"a":1.7976931348623157e308}', {"a": 1.7976931348623157e308}),
    "the smallest double": (b'{"a":1e-400}', {"a": 0.0}),
    "minus zero": (b'{"a":-0.0}', {"a": 0.0}),
}


@pytest.mark.parametrize(("text", "document"), READ.values(), ids=READ.keys())
def test_an_ordinary_document_is_read(text: bytes, document: dict[str, Any]) -> None:
    """What RFC 8259 and RFC 7493 allow is read as json.loads reads it."""
    assert loads_object(text) == document == json.loads(text)


REFUSED = {
    "nothing": (b"", "Expecting value"),
    "only white space": (b" ", "Expecting value"),
    "a list": (b"[]", "not an object"),
    "a string": (b'"a"', "not an object"),
    "a number": (b"1", "not an object"),
    "null": (b"null", "not an object"),
    "cut": (b'{"a":', "Expecting value"),
    "two documents": (b"{}{}", "Extra data"),
    "more after the end": (b"{} x", "Extra data"),
    "a comma at the end": (b'{"a":1,}', ""),
    "a comment": (b"{/**/}", ""),
    "single quotes": (b"{'a':1}", ""),
    "a bare key": (b"{a:1}", ""),
    "a key twice": (b'{"a":1,"a":1}', "'a' stands twice"),
    "a key twice, one escaped": (b'{"a":1,"\\u0061":2}', "'a' stands twice"),
    "a key twice, further inside": (b'{"a":[{"b":{"c":1,"c":2}}]}', "'c' stands twice"),
    "NaN": (b'{"a":NaN}', "NaN is not JSON"),
    "Infinity": (b'{"a":Infinity}', "Infinity is not JSON"),
    "-Infinity": (b'{"a":-Infinity}', "-Infinity is not JSON"),
    "1e400": (b'{"a":1e400}', "1e400 is out of range"),
    "-1e400": (b'{"a":[-1e400]}', "-1e400 is out of range"),
    "a long float": (b'{"a":' + b"9" * 400 + b".0}", "out of range"),
    "5,000 digits": (b'{"a":' + b"9" * 5000 + b"}", "too many digits"),
    "+1": (b'{"a":+1}', ""),
    "01": (b'{"a":01}', ""),
    "1.": (b'{"a":1.}', ""),
    "0x1": (b'{"a":0x1}', ""),
    "an Arabic digit": ('{"a":\u0661}'.encode(), ""),
    "U+0000, escaped": (b'{"a":"\\u0000"}', "U+0000"),
    "U+0000, escaped, in a key": (b'{"a\\u0000":1}', "U+0000"),
    "U+0000, escaped, deep": (b'{"a":[{"b":["\\u0000"]}]}', "U+0000"),
    "U+0000 as it is": (b'{"a":"\x00"}', "Invalid control character"),
    "U+0000 between": (b'{"a"\x00:1}', ""),
    "a line break in a text": (b'{"a":"\n"}', "Invalid control character"),
    "half a pair, the first": (b'{"a":"\\ud83d"}', "half a surrogate pair"),
    "half a pair, the second": (b'{"a":"\\ude00"}', "half a surrogate pair"),
    "a pair the wrong way round": (b'{"a":"\\ude00\\ud83d"}', "half a surrogate pair"),
    "half a pair in a key": (b'{"\\ud800":1}', "half a surrogate pair"),
    "half a pair as UTF-8": (b'{"a":"\xed\xa0\x80"}', "not UTF-8 at byte 6"),
    "a byte that begins nothing": (b'{"a":"\xff"}', "not UTF-8 at byte 6"),
    "an overlong slash": (b'{"a":"\xc0\xaf"}', "not UTF-8 at byte 6"),
    "Latin-1": ('{"a":"é"}'.encode("latin-1"), "not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "Expecting value"),
    "UTF-16 with a mark": ("{}".encode("utf-16"), "not UTF-8 at byte 0"),
    "UTF-16 without": ("{}".encode("utf-16-le"), ""),
    "UTF-32": ("{}".encode("utf-32-be"), ""),
    "a no-break space around": ("\u00a0{}".encode(), "Expecting value"),
    "100,000 lists deep": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested deeper"),
    "100,000 objects deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested deeper"),
    "100,000 deep and cut": (b"[" * 100_000, "nested deeper"),
    "deep after a text that never ends": (b"[" * 65 + b'"' + b"[" * 65, "nested deeper"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_anything_else_is_refused_with_the_reason(text: bytes, said: str) -> None:
    """No second reading, no other exception, and a message that says why."""
    with pytest.raises(StrictJsonError) as refused:
        loads_object(text)
    assert said in str(refused.value)
    assert len(str(refused.value)) < 120


# --- depth ---------------------------------------------------------------------------------------

NESTINGS = {
    "lists": lambda depth: b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}",
    "objects": lambda depth: b'{"a":' * depth + b"1" + b"}" * depth,
    "both in turn": lambda depth: (
        b'{"a":[' * (depth // 2) + b"{}" * (depth % 2) + b"]}" * (depth // 2)
    ),
    "with quotes and brackets in keys": lambda depth: (
        b'{"\\"]}\\\\":' * depth + b"1" + b"}" * depth
    ),
    "wide first": lambda depth: (
        b'{"w":[' + b"[]," * 200 + b'{}],"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
    ),
}


@pytest.mark.parametrize("nested", NESTINGS.values(), ids=NESTINGS.keys())
def test_64_levels_are_read_and_65_are_not(nested: Any) -> None:
    """The bound is exact, whatever the levels are made of."""
    assert loads_object(nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))
    assert json.loads(nested(MAX_DEPTH + 1))
    with pytest.raises(StrictJsonError, match="nested deeper than 64 levels"):
        loads_object(nested(MAX_DEPTH + 1))


IN_TEXTS = {
    "opening": "[{" * 500,
    "closing": "}]" * 500,
    "after an escaped quote": '"' + "[" * 500,
    "after a backslash": "\\" + "[" * 500,
    "after a backslash and a quote": '\\"' + "[" * 500,
    "between quotes": '"["' * 500,
}


@pytest.mark.parametrize("text", IN_TEXTS.values(), ids=IN_TEXTS.keys())
def test_brackets_in_texts_are_no_levels(text: str) -> None:
    """A sentence full of brackets is flat, as a value and as a key."""
    document = {text: text, "list": [text]}
    assert loads_object(json.dumps(document).encode()) == document


def test_many_shallow_levels_are_read() -> None:
    """Depth is counted, not brackets."""
    document: dict[str, Any] = {"a": [[{}] for _ in range(10_000)]}
    assert loads_object(dumps(document).encode()) == document


@pytest.mark.timeout(10)  # a hang is the failure; it takes milliseconds
@pytest.mark.parametrize(
    "text",
    [
        b"[]" * 65 + b'"' + b'\\"' * 131_000,
        b"[]" * 65 + b'"' * 262_001,
        b"[]" * 65 + b"\\" * 262_000,
        b'{"a":[' + b'"\\\\",' * 40_000 + b'""' + b",[]" * 65,
    ],
    ids=["escaped quotes, never closed", "quotes", "backslashes", "texts"],
)
def test_a_body_as_long_as_the_cap_is_refused_at_once(text: bytes) -> None:
    """Looking for brackets takes time in proportion to the length: no text makes it crawl."""
    with pytest.raises(StrictJsonError):
        loads_object(text)


# --- properties ----------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
ORDINARY = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=15,
    ).filter(lambda value: "Infinity" not in json.dumps(value)),
    max_size=5,
)
CHARACTERS = '{}[]:,"\\1- \n\x00é\ufeff'
WORDS = ['"a"', '"b":', "e9", ".5", "null", "true", "NaN", "\\u0000", "\\ud800", '"\\ud83d\\ude00"']
PIECES = st.lists(st.sampled_from([*CHARACTERS, *WORDS])).map(
    lambda pieces: "".join(pieces).encode()
)


@settings(deadline=None)
@given(ORDINARY, st.booleans(), st.sampled_from([None, 1]))
def test_it_agrees_with_the_standard_parser(
    document: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    """An ordinary document, however it is spelled, reads as json.loads reads it."""
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
    assert loads_object(text.encode()) == json.loads(text) == document


@settings(deadline=None)
@given(ORDINARY)
def test_what_we_write_we_read(document: dict[str, Any]) -> None:
    """``dumps`` and ``loads_object`` are each other's reverse, and keys keep their order."""
    read = loads_object(dumps(document).encode())
    assert read == document
    assert list(read) == list(document)


@settings(max_examples=examples(200))
@given(st.binary() | PIECES | PIECES.map(lambda text: b"{" + text + b"}"))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    """StrictJsonError is the only exception, and what is read has no second reading."""
    try:
        document = loads_object(text)
    except StrictJsonError:
        return
    assert document == json.loads(text)
    assert loads_object(dumps(document).encode()) == document


def reading(text: bytes, doubles: bool) -> dict[str, Any] | None:
    """The document; None: refused."""
    try:
        return loads_object(text, doubles=doubles)
    except StrictJsonError:
        return None


LONG = [b"9" * 308, b"9" * 309, b"1" + b"0" * 308, b"9" * 310, b"-" + b"9" * 309, b"9" * 4301]
ESCAPES = [
    b"\\u0026",
    b"\\\\u0026",
    b"\\\\\\u0026",
    b"\\u003c",
    b"\\u003E",
    b"&",
    b"\\u0000",
    b"\\ud800",
]
SPELLED: list[bytes] = [
    *LONG, *ESCAPES, b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a":', b'"a\\u0026":', b'"a&":',
    b"-0", b"-0.0", b"1e5", b"1.0", b"1e22", b"1E22", b"0.1", b"1e400", b"null", b"true", b"NaN",
    b"\x00", b"\x7f", b"\xc3\xa9", b"\xff", b"\xed\xa0\x80", b"\\n", b"\\/", b"\\b", b" ",
]  # fmt: skip
VALUES = st.sampled_from([*LONG, b"1", b"-0", b"1.0", b"1e5", b'"a"', b'"\\u0026"', b"{}"])
MEMBERS = st.tuples(st.sampled_from([b'"a"', b'"b"', b'"\\u0026"', b'"&"', b'"\\\\u0026"']), VALUES)


@settings(max_examples=examples(400))
@given(
    st.lists(st.sampled_from(SPELLED), max_size=12).map(b"".join)
    | st.lists(MEMBERS, max_size=4).map(lambda pairs: b",".join(map(b":".join, pairs))),
    st.sampled_from([b"", b" ", b'"%s":' % (b"x" * 310)]),
    st.booleans(),
)
def test_every_spelling_of_a_document_has_one_reading(
    text: bytes, padding: bytes, doubles: bool
) -> None:
    """Compact bytes are taken as they are, others read by the standard parser: the same comes out.

    A space before a document makes it one that is read in full.
    """
    for each in (b"{%s}" % text, b'{"a":[%s]}' % text, b'{"a":"%s"}' % text):
        document = reading(each, doubles)
        in_full = reading(b" " + each, doubles)
        assert document == in_full
        assert repr(document) == repr(in_full), "types, the sign of zero and the order of keys"


@pytest.mark.parametrize("before", [*range(0, 620, 31), 307, 308, 309])
def test_an_integer_beyond_a_double_is_found_wherever_it_stands(before: int) -> None:
    """309 nines fit into no double; 308 do."""
    text = b'{"%s":%s}'
    assert loads_object(text % (b"x" * before, b"9" * 308), doubles=True)
    with pytest.raises(StrictJsonError, match="out of range"):
        loads_object(text % (b"x" * before, b"9" * 309), doubles=True)
    assert loads_object(text % (b"x" * before, b"9" * 309))


def test_no_reader_has_msgspecs_own_floats() -> None:
    """It takes thirty times as long for 1e308, which anybody may send before a signature counts."""
    core = Path(strict_json.__file__).parent
    made = [
        f"{path.name}: {line.strip()}"
        for path in core.rglob("*.py")
        for line in path.read_text().splitlines()
        if re.search(r"\bDecoder\(", line)
    ]
    assert len(made) > 3
    assert [line for line in made if "float_hook=float" not in line] == []


class Name(str):
    """A text of somebody's own class."""

    __slots__ = ()


class Count(int):
    """A number of somebody's own class."""


class Share(float):
    """A fraction of somebody's own class."""


def test_what_is_a_text_or_a_number_is_written_as_one() -> None:
    """A callable policy may return values of classes that derive from these."""
    values = {Name("a"): Name("b"), "c": Count(2), "d": Share(0.5), "e": True}
    assert dumps(values) == '{"a":"b","c":2,"d":0.5,"e":true}'
    assert cannot_travel(values) == ""
    with pytest.raises(TypeError, match="object is not JSON"):
        dumps({"a": object()})


@pytest.mark.parametrize("key", [None, True, 7, 1.5], ids=repr)
def test_a_key_that_is_no_text_does_not_travel(key: object) -> None:
    """The standard library and msgspec write some of them differently."""
    assert cannot_travel({"a": [{"b": {key: 1}}]}) == f"have the key {key}, which is not a text"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=repr)
def test_a_number_that_json_cannot_say_does_not_travel(value: float) -> None:
    """It would be written as null."""
    with pytest.raises(ValueError, match="JSON compliant"):
        cannot_travel({"a": value})


@pytest.mark.parametrize(
    "value", [datetime(2026, 3, 2, tzinfo=UTC), {"a"}, b"a", UUID(int=1)], ids=repr
)
def test_what_json_does_not_know_does_not_travel(value: object) -> None:
    """No policy's value becomes a text by itself."""
    with pytest.raises(TypeError, match="not JSON serializable"):
        cannot_travel({"a": value})


@given(ORDINARY)
def test_we_write_what_the_standard_library_writes(document: dict[str, Any]) -> None:
    """But for the exponents of numbers, which both read as the same."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    if "e" not in re.sub('"(?:[^"\\\\]|\\\\.)*"|true|false', "", text):
        assert dumps(document) == text
    assert repr(json.loads(dumps(document))) == repr(json.loads(text))


def test_we_write_compact_utf_8_in_the_given_order() -> None:
    """One spelling: no spaces, no needless escapes, keys as they come."""
    assert dumps({"b": [1, "é☃"], "a": None}) == '{"b":[1,"é☃"],"a":null}'
