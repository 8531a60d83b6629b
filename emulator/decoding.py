"""Reading JSON as Go's ``encoding/json`` decodes it into a struct.

Leniently where Go is: data after the first value is ignored, keys match in any letter case, bad
UTF-8 and half surrogates become U+FFFD, and every number is a float64.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

_WHITESPACE: Final = " \t\r\n"
_KINDS: Final = {str: "string", bool: "bool", float: "number", list: "array", dict: "object"}


class DecodingError(ValueError):
    """Go would not decode this text."""


class _Members(dict[str, Any]):
    """An object that remembers the members it was written with, repeated keys included."""

    pairs: list[tuple[str, Any]]


def go_value(body: bytes) -> Any:
    """The first JSON value of a text.

    Raises:
        DecodingError: Go would not read it either.
    """
    return _plain(_decoded(body))


def go_fields(body: bytes) -> dict[str, Any]:
    """The members of a JSON object by their lower-case names; ``null`` has none.

    A repeated key counts as in Go: the last value wins, but objects are merged.

    Raises:
        DecodingError: this is no object.
    """
    value = _decoded(body)
    if value is None:
        return {}
    if not isinstance(value, _Members):
        raise DecodingError(f"json: cannot unmarshal {kind(value)} into Go value of a struct")
    fields: dict[str, Any] = {}
    for key, member in value.pairs:
        name, item = key.casefold(), _plain(member)
        held = fields.get(name)
        if isinstance(held, dict) and isinstance(item, dict):
            fields[name] = held | item
        elif item is not None or held is None or isinstance(held, dict):
            fields[name] = item
    return fields


def kind(value: Any) -> str:
    """Go's name for a JSON type."""
    return "null" if value is None else next(_KINDS[t] for t in _KINDS if isinstance(value, t))


def _decoded(body: bytes) -> Any:
    text = body.decode("utf-8", "replace").lstrip(_WHITESPACE)
    if not text:
        raise DecodingError("EOF")
    try:
        value, _ = _DECODER.raw_decode(text)
    except RecursionError:
        raise DecodingError("exceeded max depth") from None
    except json.JSONDecodeError as error:
        raise DecodingError(f"{error.msg} at character {error.pos}") from None
    return value


def _plain(value: Any) -> Any:
    """Plain dicts and well-formed texts: no UTF-8 could hold half a surrogate pair."""
    try:
        return _well_formed(value)
    except RecursionError:
        raise DecodingError("exceeded max depth") from None


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(item) for key, item in value.items()}
    return value


def _members(pairs: list[tuple[str, Any]]) -> _Members:
    members = _Members(pairs)
    members.pairs = pairs
    return members


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise DecodingError(f"json: cannot unmarshal number {text[:20]} into Go value of float64")
    return number


def _constant(name: str) -> Any:
    raise DecodingError(f"invalid character in {name}")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_number, parse_float=_number, parse_constant=_constant
)
