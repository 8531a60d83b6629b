"""The cursor of a listing: comes back as it was made, and nothing else passes."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import NOON
from usher.core.domain.cursors import MAX_CHARACTERS, read_cursor, write_cursor
from usher.core.errors import CursorInvalidError

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=200)
PLACES = {
    datetime: st.datetimes(timezones=st.just(UTC)),
    UUID: st.uuids(),
    str: TEXT,
    int: st.integers(0, 2**63 - 1),
}


@given(st.data())
def test_every_place_comes_back(data: st.DataObject) -> None:
    """Whatever the columns of the order are."""
    types = data.draw(st.lists(st.sampled_from(list(PLACES)), min_size=1, max_size=3))
    place = tuple(data.draw(PLACES[kind]) for kind in types)
    assert read_cursor(write_cursor("by", place), "by", types) == place


def test_a_time_of_any_zone_is_read_as_the_same_moment() -> None:
    """In UTC, as databases compare it."""
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-9)))
    (found,) = read_cursor(write_cursor("by", [elsewhere]), "by", (datetime,))
    assert (found, found.tzinfo) == (NOON, UTC)


def made(document: str) -> str:
    """A cursor with this inside."""
    return urlsafe_b64encode(document.encode()).rstrip(b"=").decode()


GOOD = write_cursor("created.asc", (NOON, UUID(int=1)))


@pytest.mark.parametrize(
    "cursor",
    [
        "", "x", "~", "ä", "\x00", GOOD[:-1], GOOD + "A", GOOD * 100, "A" * (MAX_CHARACTERS + 1),
        made("[]"), made("{}"), made("null"), made('{"o":"created.asc"}'),
        made('{"o":"created.asc","p":null}'), made('{"o":"created.asc","p":[]}'),
        made('{"o":"created.asc","p":["2026-11-23T12:00:00+00:00"]}'),
        made('{"o":"email.asc","p":["2026-11-23T12:00:00+00:00","' + str(UUID(int=1)) + '"]}'),
        made('{"o":"created.asc","p":["noon","' + str(UUID(int=1)) + '"]}'),
        made('{"o":"created.asc","p":["2026-11-23T12:00:00","' + str(UUID(int=1)) + '"]}'),
        made('{"o":"created.asc","p":["0001-01-01T00:00:00+23:59","' + str(UUID(int=1)) + '"]}'),
        made('{"o":"created.asc","p":["2026-11-23T12:00:00+00:00","1"]}'),
        made('{"o":"created.asc","p":[1,2]}'),
        made('{"o":"created.asc","p":["2026-11-23T12:00:00+00:00",7]}'),
    ],
)  # fmt: skip
def test_what_is_no_place_in_this_order_is_refused(cursor: str) -> None:
    """Garbage from a caller is the caller's error, never the database's."""
    with pytest.raises(CursorInvalidError):
        read_cursor(cursor, "created.asc", (datetime, UUID))


@pytest.mark.parametrize("value", ["true", "-1", "1.0", str(2**63), '"1"', "null"])
def test_a_number_is_one_that_a_column_can_hold(value: str) -> None:
    """No overflow reaches the driver."""
    with pytest.raises(CursorInvalidError):
        read_cursor(made('{"o":"at","p":[' + value + "]}"), "at", (int,))


@pytest.mark.parametrize("value", [0, 1, 2**63 - 1])
def test_any_number_that_a_column_can_hold_comes_back(value: int) -> None:
    """Both ends included."""
    assert read_cursor(write_cursor("at", (value,)), "at", (int,)) == (value,)


@given(st.text(max_size=80))
def test_any_text_is_a_place_or_refused(cursor: str) -> None:
    """Nothing else comes out."""
    try:
        place: tuple[Any, ...] = read_cursor(cursor, "created.asc", (datetime, UUID))
    except CursorInvalidError:
        return
    assert write_cursor("created.asc", place)
