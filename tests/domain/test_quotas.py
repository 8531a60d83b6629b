"""Quotas: what is one, and which window a moment belongs to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher.core.domain.quotas import Place, Quota, read_quota
from usher.emulator.payload import ZERO_INSTANCE


@pytest.mark.parametrize(
    ("text", "quota", "words"),
    [
        ("20/h", Quota(20, 3_600), "20 an hour"),
        ("1/min", Quota(1, 60), "1 a minute"),
        ("1000000/d", Quota(1_000_000, 86_400), "1000000 a day"),
    ],
)
def test_a_quota_is_a_number_and_a_window(text: str, quota: Quota, words: str) -> None:
    """As in policy.toml, and in a sentence."""
    assert read_quota(text) == quota
    assert quota.describe() == words


@pytest.mark.parametrize(
    "text",
    ["", "20", "0/h", "-1/h", "20/s", "20 / h", "20/hour", "1.5/h", "1000001/d", "99999999/d",
     "٢/h", 20, None, ["20/h"], "20/h\n"],
)  # fmt: skip
def test_anything_else_is_no_quota(text: object) -> None:
    """The reader of the policy says so with its place."""
    assert read_quota(text) is None


@given(st.floats(0, 4e9), st.sampled_from([60, 3_600, 86_400]))
def test_every_moment_belongs_to_one_window(at: float, seconds: int) -> None:
    """Windows follow one another without a gap, and days begin at midnight, UTC."""
    begins = Quota(1, seconds).window(at)
    assert begins <= at < begins + seconds
    assert begins % seconds == 0


def test_a_place_has_a_key_and_an_end() -> None:
    """Two quotas of other lengths never share a row."""
    begins = int(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp())
    hour = Place(ZERO_INSTANCE, "example.com", 3_600, begins)
    minute = Place(ZERO_INSTANCE, "example.com", 60, begins)
    assert hour.key == f"3600:{begins}:example.com"
    assert hour.key != minute.key
    assert hour.ends_at == datetime(2026, 11, 23, 13, tzinfo=UTC)
