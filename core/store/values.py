"""Values as rows hold them, and back: ids, times and documents.

Text is what both kinds of database take at the least cost. An encoder written in C makes it: the
standard library takes ten times as long for a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from usher.core.strict_json import dumps

_ENCODE: Final = msgspec.json.Encoder().encode
_DECODE: Final = msgspec.json.Decoder(float_hook=float).decode  # see ``strict_json``
_TIMES: Final[dict[int, tuple[datetime, str]]] = {}
"""The texts of some times, by ``id``, which is theirs as long as they are kept here.

One moment stands in many columns of an event. To hash a time takes longer than to write it.
"""
_TIMES_KEPT: Final = 256
_WITHOUT_FRACTION: Final = len('"2026-03-02T09:00:00Z"')


def hex_of(value: UUID) -> str:
    """An id as 32 hex digits."""
    return value.int.to_bytes(16, "big").hex()  # ``UUID.hex`` takes nearly twice as long


def time_text(value: datetime) -> str:
    """An aware time as ISO 8601 in UTC; always six fraction digits, so that texts sort by time."""
    kept = _TIMES.get(id(value))
    if kept is not None:
        return kept[1]
    encoded = _ENCODE(value if value.tzinfo is UTC else value.astimezone(UTC)).decode()
    fraction = ".000000" if len(encoded) == _WITHOUT_FRACTION else ""
    text = f"{encoded[1:-2]}{fraction}+00:00"
    if len(_TIMES) >= _TIMES_KEPT:
        _TIMES.clear()
    _TIMES[id(value)] = value, text
    return text


def time_or_none(value: datetime | None) -> str | None:
    """As ``time_text``, where there may be none."""
    return None if value is None else time_text(value)


def text_of(document: Mapping[str, Any]) -> str:
    """A document as JSON; an empty one, the most frequent, without the encoder."""
    return dumps(document) if document else "{}"


def document_of(text: str) -> Any:
    """A document that we wrote; ``{}``, the most frequent one, without the parser."""
    return {} if text == "{}" else _DECODE(text)
