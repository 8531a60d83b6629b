"""Keyset cursors: the place where a listing goes on, opaque to callers. Pure.

A cursor holds the place of a page's last record in the listing's order. So an index finds the next
page at any depth. The cursor names its order; a listing in another order refuses it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from usher.core.domain.events import is_text
from usher.core.errors import CursorInvalidError
from usher.core.strict_json import StrictJsonError, dumps, loads_object

MAX_CHARACTERS: Final = 2_000
_MAX_INTEGER: Final = 2**63 - 1


def write_cursor(order: str, place: Sequence[Any]) -> str:
    """The cursor for a place: the values of the order's columns, with aware times."""
    values = [_plain(value) for value in place]
    octets = dumps({"o": order, "p": values}).encode()
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def read_cursor(cursor: str, order: str, types: Sequence[type]) -> tuple[Any, ...]:
    """The place that a cursor names.

    Args:
        order: the order of the listing.
        types: the types of its columns: datetime, UUID, str or int.

    Raises:
        CursorInvalidError: not ours, cut short, or of another order.
    """
    if len(cursor) > MAX_CHARACTERS:
        raise CursorInvalidError
    try:
        octets = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        document = loads_object(octets)
    except (StrictJsonError, ValueError):
        raise CursorInvalidError from None
    values = document.get("p")
    if document.get("o") != order or not isinstance(values, list) or len(values) != len(types):
        raise CursorInvalidError
    try:
        return tuple(_READERS[kind](value) for kind, value in zip(types, values, strict=True))
    except (ValueError, TypeError, OverflowError):
        raise CursorInvalidError from None


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, str)) else str(value)


def _time(value: Any) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("no offset")
    return moment.astimezone(UTC)


def _integer(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_INTEGER:
        raise ValueError("not a place")
    return value


def _string(value: Any) -> str:
    if not is_text(value):
        raise ValueError("not text")
    return str(value)


def _uuid(value: Any) -> UUID:
    return UUID(_string(value))


_READERS: Final[Mapping[type, Callable[[Any], Any]]] = {
    datetime: _time,
    UUID: _uuid,
    str: _string,
    int: _integer,
}
