"""Requests and answers are read as Go reads them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher.emulator.decoding import DecodingError, go_fields, go_value
from usher.emulator.payload import go_json

VALUES: list[tuple[bytes, Any]] = [
    (b" \n1 trailing", 1),
    (b'"\\ud800"', "\ufffd"),
    (b'"\\ud83d\\ude00"', "\U0001f600"),
    (b'"a\\u0000b"', "a\0b"),
    (b'"\xff"', "\ufffd"),
    (b'{"a":1,"a":2}', {"a": 2}),
    (b'{"a":{"b":1},"a":{"c":2}}', {"a": {"c": 2}}),
]


@pytest.mark.parametrize(("text", "value"), VALUES)
def test_a_value_is_read_as_leniently_as_go_reads_it(text: bytes, value: Any) -> None:
    """Trailing data, repeated keys, U+0000, half surrogates, bad UTF-8."""
    assert go_value(text) == value


@pytest.mark.parametrize(
    "text",
    [b"", b" ", b"{", b"NaN", b"[Infinity]", b"1e400", b"1" * 400, b"[" * 100_000, b"\xef\xbb\xbf1",
     b"'a'", b'"\n"', b"\xff"],
)  # fmt: skip
def test_a_text_that_go_refuses_is_refused(text: bytes) -> None:
    """One error for all of them."""
    with pytest.raises(DecodingError):
        go_value(text)


FIELDS: list[tuple[bytes, dict[str, Any]]] = [
    (b"null", {}),
    (b"{}", {}),
    (b'{"EMAIL":"a","Data":{"Key":1}}', {"email": "a", "data": {"Key": 1}}),
    (b'{"data":{"a":1},"Data":{"b":2}}', {"data": {"a": 1, "b": 2}}),
    (b'{"data":{"a":1},"data":null}', {"data": None}),
    (b'{"email":"a","email":null}', {"email": "a"}),
    (b'{"email":"a","email":"b"}', {"email": "b"}),
]


@pytest.mark.parametrize(("text", "fields"), FIELDS)
def test_the_fields_of_a_struct(text: bytes, fields: dict[str, Any]) -> None:
    """Letter case of keys does not count; a map given twice is merged."""
    assert go_fields(text) == fields


@pytest.mark.parametrize("text", [b"[]", b"1", b'"x"', b"true"])
def test_a_struct_is_read_from_an_object_only(text: bytes) -> None:
    """Go names the type that it found."""
    with pytest.raises(DecodingError, match="cannot unmarshal"):
        go_fields(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives_being_written_and_read(number: float) -> None:
    """The shortest text that is still this float64."""
    assert go_value(go_json(number)) == number


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.0, b"1"), (0, b"0"), (-0.0, b"-0"), (-1, b"-1"), (1.5, b"1.5"), (0.1, b"0.1"),
        (1e20, b"100000000000000000000"), (1e21, b"1e+21"), (1.5e300, b"1.5e+300"),
        (0.00001, b"0.00001"), (0.000001, b"0.000001"), (0.0000001, b"1e-7"),
        (1.5e-10, b"1.5e-10"), (2**53 + 1, b"9007199254740992"),
        (12345678901234567890, b"12345678901234567000"), (5e-324, b"5e-324"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_go_writes_a_float64(number: float, text: bytes) -> None:
    """Plain from 1e-6 to 1e21; an exponent without a leading zero elsewhere."""
    assert go_json(number) == text


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_has_not_is_refused(number: float) -> None:
    """A mistake in the emulator must not become an odd payload."""
    with pytest.raises(ValueError, match="is not JSON"):
        go_json({"x": number})
