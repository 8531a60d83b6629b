"""JSON as RFC 8259 and RFC 7493 (I-JSON) mean it: one reading, or a clear refusal. Pure.

The standard parser accepts duplicate keys (the last wins), NaN, numbers beyond a float, lone
surrogates and any depth. By each of these, two programs can read one document differently.

msgspec reads and writes several times as fast. A document that it writes again byte for byte as it
came is strict, and is taken as read; the standard parser reads any other, and says what is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from msgspec import MsgspecError
from msgspec.json import Decoder, Encoder

from usher.core.bounds import MAX_DEPTH, MAX_WRITTEN_BYTES, MAX_WRITTEN_DEPTH

T = TypeVar("T")
_MAX_SAFE_DIGITS: Final = 308
"""Any integer of so many digits fits into a double."""

# The closing quote is optional, so that an open string is read once and not from every quote in it.
_BRACKETS_OUTSIDE_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|([\[{])|([\]}])', re.DOTALL)


class StrictJsonError(ValueError):
    """The bytes are not one strict JSON document; the message says why."""


def depth_exceeds(data: bytes, limit: int) -> bool:
    """Whether brackets and braces stand deeper than so many levels."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    depth = 0
    for found in _BRACKETS_OUTSIDE_STRINGS.finditer(data):
        if found.group(1):
            depth += 1
            if depth > limit:
                return True
        elif found.group(2):
            depth -= 1
    return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        from collections import Counter  # noqa: PLC0415 - for a refusal alone

        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise StrictJsonError(f"the key {twice[:40]!r} stands twice in one object")
    return document


def _no_constant(name: str) -> Any:
    raise StrictJsonError(f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:  # infinite: 1e400 is valid JSON that no double can hold
        raise StrictJsonError(f"the number {text[:20]} is out of range")
    return value


def fits_a_double(value: float) -> bool:
    """Whether a number is one that Identity, which reads every number as a double, can read."""
    try:
        return float(value) - float(value) == 0
    except OverflowError:
        return False


def _double(text: str) -> int:
    value = int(text)
    if len(text) > _MAX_SAFE_DIGITS and not fits_a_double(value):
        raise StrictJsonError(f"the number {text[:20]} is out of range")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite
)
_DOUBLES = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_no_constant,
    parse_float=_finite,
    parse_int=_double,
)


_ESCAPED_BY_GO: Final = ("<", ">", "&", "\u2028", "\u2029", "\\b", "\\f")
_EXPONENT: Final = r"\d[eE][+-]?\d"
_READ_BACK: Final = ((b"\\u0026", b"&"), (b"\\u003c", b"<"), (b"\\u003e", b">"))
"""Go's escapes of what means something in HTML, as in the address of every provider's picture."""
_DIGIT: Final = re.compile(rb"\d")
_LONG_INTEGER: Final = re.compile(rb"(?<!\d)\d{%d}" % (_MAX_SAFE_DIGITS + 1))
"""Looked for at the beginning of a run of digits alone, once for each run."""

_DECODE = Decoder(float_hook=float).decode
"""msgspec's own reader of floats takes thirty times as long for 1e308 and others at the limits."""
_STANDARD = json.JSONEncoder(
    ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
)


def _plain(value: Any) -> Any:
    """A text or a number of a class of somebody's own, such as a callable policy returns."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


_ENCODE = Encoder(enc_hook=_plain).encode


def _check_strings(value: Any) -> None:
    """Refuse U+0000 (PostgreSQL text cannot hold it) and lone surrogates (no UTF-8 can)."""
    if isinstance(value, str):
        if "\x00" in value:
            raise StrictJsonError("a string holds U+0000")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise StrictJsonError("a string holds half a surrogate pair") from None
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_strings(key)
            _check_strings(item)
    elif isinstance(value, list):
        for item in value:
            _check_strings(item)


def loads_object(
    data: bytes, max_depth: int = MAX_DEPTH, *, doubles: bool = False
) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        data: the bytes as received: UTF-8, no byte order mark.
        doubles: refuse integers that no double holds, too.

    Raises:
        StrictJsonError: anything but exactly one JSON object with unique keys, finite numbers,
            well-formed text and at most ``max_depth`` levels.
    """
    if depth_exceeds(data, max_depth):
        raise StrictJsonError(f"nested deeper than {max_depth} levels")
    document = read_exactly(data, _DECODE)
    if type(document) is not dict or (doubles and _may_exceed_double(data)):
        return _read_slowly(data, doubles=doubles)
    return document


def may_be_refused(data: bytes, max_depth: int) -> bool:
    """Whether ``loads_object``, with ``doubles``, may refuse a document for depth or numbers."""
    return depth_exceeds(data, max_depth) or _may_exceed_double(data)


def read_exactly(data: bytes, decode: Callable[[bytes], T]) -> T | None:
    """The value, where the bytes are its one spelling, or Go's; None: only a full reading tells.

    Written again, a repeated key would be missing, and a number or character that is not allowed
    would be different. A replacement that is none of Go's escapes (after a backslash) leaves what
    nobody writes.
    """
    if b"\\" in data and b"\\u" in data:  # one character is looked for at once
        for escaped, plain in _READ_BACK:
            data = data.replace(escaped, plain)
        if b"\\u" in data:
            return None
    try:
        value = decode(data)
        return value if _ENCODE(value) == data else None
    except (MsgspecError, ValueError, RecursionError):
        return None


def _may_exceed_double(data: bytes) -> bool:
    """Whether an integer may be too long for a double.

    So many digits in a row are on one place of so many, and most documents have no digit there.
    """
    places = data[_MAX_SAFE_DIGITS :: _MAX_SAFE_DIGITS + 1]
    return _DIGIT.search(places) is not None and _LONG_INTEGER.search(data) is not None


def _read_slowly(data: bytes, *, doubles: bool) -> dict[str, Any]:
    try:
        document = (_DOUBLES if doubles else _DECODER).decode(data.decode())
    except StrictJsonError:
        raise
    except UnicodeDecodeError as error:
        raise StrictJsonError(f"not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise StrictJsonError(f"{error.msg} at character {error.pos}") from None
    except ValueError:  # int() refuses more than 4300 digits (CVE-2020-10735)
        raise StrictJsonError("a number has too many digits") from None
    if not isinstance(document, dict):
        raise StrictJsonError("not an object")
    if b"\\u" in data:  # only an escape brings such strings past the decoder
        _check_strings(document)
    return document


def written_bytes(text: str) -> int:
    """The most bytes that a document of ours has once Go has written it.

    Go escapes what means something in HTML, and spells numbers out up to 1e21.
    """
    escaped = sum(text.count(character) for character in _ESCAPED_BY_GO)
    exponents = len(re.findall(_EXPONENT, text))
    return len(text.encode()) + 5 * escaped + 24 * exponents


def _other_key(value: Any) -> str | None:
    """A key that is no text, anywhere in a value; None: there is none."""
    if isinstance(value, dict):
        for key, inner in value.items():
            found = _other_key(inner) if isinstance(key, str) else repr(key)
            if found is not None:
                return found
    elif isinstance(value, list | tuple):
        return next((found for one in value if (found := _other_key(one)) is not None), None)
    return None


def cannot_travel(values: dict[str, Any]) -> str:
    """The reason why a map that is written here could not be read again wherever it goes, if any.

    It goes to Identity, into tokens and the next events, and into captures.
    """
    text = _STANDARD.encode(values)  # refuses NaN, dates and sets, which msgspec writes
    size = written_bytes(text)
    if size > MAX_WRITTEN_BYTES:
        return f"have {size} bytes; {MAX_WRITTEN_BYTES} is the most"
    data = text.encode()
    if depth_exceeds(data, MAX_WRITTEN_DEPTH):
        return f"be nested deeper than {MAX_WRITTEN_DEPTH} levels"
    if (key := _other_key(values)) is not None:
        return f"have the key {key}, which is not a text"
    try:
        loads_object(data, MAX_WRITTEN_DEPTH, doubles=True)
    except StrictJsonError as error:
        return f"hold what Identity cannot: {error}"
    return ""


def equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same by type and value, in records of ours too.

    ``1`` is not ``true``, although Python calls them equal. ``1`` and ``1.0`` are one number: JSON
    has a single type for numbers, and Identity writes 1.0 back as 1. The order of keys means
    nothing. Structs are compared field by field, so that records may hold documents.
    """
    return one is other or (bool(one == other) and (type(one) is str or _same_types(one, other)))


def _same_types(one: Any, other: Any) -> bool:
    """Whether two values that Python calls equal have their booleans in the same places."""
    kind = type(one)
    if kind is bool or type(other) is bool:
        return kind is type(other)
    pairs: Iterable[tuple[Any, Any]]
    if kind is dict or isinstance(one, Mapping):
        pairs = ((value, other[key]) for key, value in one.items())
    elif kind is list or kind is tuple:
        pairs = zip(one, other, strict=True)
    else:
        fields = getattr(kind, "__struct_fields__", ())
        pairs = ((getattr(one, name), getattr(other, name)) for name in fields)
    for value, mate in pairs:  # every event comes by here, and most values are texts
        if value is not mate and type(value) is not str and not _same_types(value, mate):
            return False
    return True


def dumps(value: Any) -> str:
    """Write JSON in our one spelling: compact, non-ASCII as it is, keys in the order given.

    Args:
        value: of what a strict document holds; a float that is not finite would be written as null.

    Raises:
        TypeError, ValueError: the value does not fit into JSON.
    """
    return _ENCODE(value).decode()
