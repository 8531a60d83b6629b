"""Times in documents."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from usher.core.domain.documents import utc


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_written_as_python_writes_it_with_z(moment: datetime) -> None:
    """No fraction, or six digits of one."""
    assert utc(moment) == moment.isoformat().replace("+00:00", "Z")


def test_no_time_stays_none() -> None:
    """It is null in JSON."""
    assert utc(None) is None
