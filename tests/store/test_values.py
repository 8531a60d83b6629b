"""Ids, times and documents as rows hold them: as the standard library would write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from tests.store.test_users_store import OBJECTS
from usher.core.store.values import document_of, hex_of, time_or_none, time_text
from usher.core.strict_json import dumps

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.just(UTC) | ZONES)  # noqa: DTZ001


@given(st.uuids())
def test_an_id_is_32_hex_digits(value: UUID) -> None:
    """Both databases take it."""
    assert hex_of(value) == value.hex


@given(TIMES)
def test_a_time_is_iso_8601_in_utc_with_six_digits(value: datetime) -> None:
    """Whatever its zone; so texts sort by time."""
    assert time_text(value) == value.astimezone(UTC).isoformat(timespec="microseconds")
    assert time_or_none(value) == time_text(value)
    assert time_or_none(None) is None


def test_each_of_many_times_has_its_own_text() -> None:
    """Texts are remembered for a while; the memory of a time that is gone serves another."""
    for second in range(2_000):
        value = datetime(2026, 3, 2, tzinfo=UTC) + timedelta(seconds=second)
        text = value.isoformat(timespec="microseconds")
        assert [time_text(value), time_text(value)] == [text, text]


@given(OBJECTS)
def test_a_document_comes_back(document: dict[str, Any]) -> None:
    """Every number too, however large."""
    found = document_of(dumps(document))
    assert (found, json.dumps(found)) == (document, json.dumps(document))
