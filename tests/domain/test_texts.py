"""Ids and times as texts are those of the standard library."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher.core.domain.events import parse_time
from usher.core.texts import read_uuid, utc_text, uuid_text, zulu_text

USUAL = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
MANGLED = st.tuples(
    st.uuids().map(str), st.integers(0, 36), st.text("0aF-g{} _\u0661", max_size=2), st.booleans()
).map(lambda it: (it[0][: it[1]] + it[2] + it[0][it[1] + len(it[2]) :]).upper() if it[3] else it[0])
SPELLED = st.from_regex(
    r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]{0,10})?"
    r"(Z|z|[+-][0-9]{2}:?[0-9]{2})?\Z"
)
OFFSETS = st.integers(-23 * 60, 23 * 60).map(lambda each: timezone(timedelta(minutes=each)))


@given(st.uuids())
def test_an_id_is_written_as_str_writes_it(value: UUID) -> None:
    """And comes back the same, whatever the case of its letters."""
    assert uuid_text(value) == str(value)
    assert read_uuid(str(value)) == read_uuid(str(value).upper()) == value


@given(MANGLED | st.text(max_size=40))
def test_an_id_is_read_in_its_usual_form_alone(text: str) -> None:
    """Exactly what the pattern of five groups takes."""
    found = read_uuid(text)
    assert found == (UUID(text) if USUAL.fullmatch(text) else None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        b"00000000-0000-4000-8000-000000000001",
        "00000000000040008000000000000001",
        "{0000000-0000-4000-8000-000000000001}",
        "urn:uuid:00000000-0000-4000-8000-000000000001",
        "\ud800" + "0" * 35,
    ],
    ids=repr,
)
def test_other_forms_of_ids_are_none(value: object) -> None:
    """UUID() itself reads bare digits, braces and URNs."""
    assert read_uuid(value) is None


@given(st.datetimes(timezones=st.just(UTC) | OFFSETS))
def test_a_time_is_written_as_isoformat_writes_it(moment: datetime) -> None:
    """In UTC, with a fraction where there is one."""
    if 1 < moment.year < 9999:  # no offset leads out of what datetime holds
        expected = moment.astimezone(UTC).isoformat()
        assert utc_text(moment) == expected
        assert zulu_text(moment) == expected.replace("+00:00", "Z")


@given(SPELLED | st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"))
def test_a_time_is_read_as_the_standard_library_reads_it(text: str) -> None:
    """Only RFC 3339, fractions cut off after six digits and never rounded."""
    try:
        expected = datetime.fromisoformat(text).astimezone(UTC) if RFC3339.fullmatch(text) else None
    except (ValueError, OverflowError):
        expected = None
    try:
        found = parse_time(text)
    except ValueError:
        assert expected is None
    else:
        assert found == expected
        assert found.tzinfo is UTC
