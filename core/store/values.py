"""Values as rows hold them, and back: ids, times and documents.

Text is what both kinds of database take at the least cost. An encoder written in C makes it: the
standard library takes ten times as long for a time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import msgspec

_ENCODE: Final = msgspec.json.Encoder().encode
_ENCODE_HEX: Final = msgspec.json.Encoder(uuid_format="hex").encode
_DECODE: Final = msgspec.json.Decoder().decode
_WITHOUT_FRACTION: Final = len("2026-03-02T09:00:00")


def hex_of(value: UUID) -> str:
    """An id as 32 hex digits."""
    return _ENCODE_HEX(value)[1:-1].decode()


@lru_cache(maxsize=256)  # the same moment stands in many columns of an event
def time_text(value: datetime) -> str:
    """An aware time as ISO 8601 in UTC; always six fraction digits, so that texts sort by time."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    text = _ENCODE(value)[1:-2].decode()
    return f"{text}+00:00" if len(text) > _WITHOUT_FRACTION else f"{text}.000000+00:00"


def time_or_none(value: datetime | None) -> str | None:
    """As ``time_text``, where there may be none."""
    return None if value is None else time_text(value)


def document_of(text: str) -> Any:
    """A document that we wrote; ``{}``, the most frequent one, without the parser."""
    return {} if text == "{}" else _DECODE(text)
