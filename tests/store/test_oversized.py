"""Requests refused for their size: counted in memory, and written in a few rows a day."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.pipeline.outage_support import locked
from tests.store.store_support import rows
from tests.support import NOON, Clock, account, call, signed
from usher.core.app import App
from usher.core.bounds import MAX_EVENT_BYTES
from usher.core.errors import BodyTooLargeError, DatabaseError
from usher.core.oversized import EVENT, REQUEST, Refused
from usher.core.store.drivers import sqlite

SMALL, LARGE = BodyTooLargeError(262_144), BodyTooLargeError(MAX_EVENT_BYTES)


def test_counts_are_added_by_kind_with_their_last_day(usher: App, clock: Clock) -> None:
    """Over days and processes; those before the day asked for do not count."""
    usher.oversized.count(SMALL)
    usher.oversized.flush()
    clock.advance(days=3)
    for _ in range(3):
        usher.oversized.count(SMALL)
    usher.oversized.count(LARGE)
    assert usher.oversized.since(NOON)[REQUEST] == Refused(1, "2026-11-23")
    usher.oversized.flush()
    usher.oversized.count(LARGE)
    usher.oversized.flush()
    day = f"{clock():%Y-%m-%d}"
    assert usher.oversized.since(NOON) == {EVENT: Refused(2, day), REQUEST: Refused(4, day)}
    assert usher.oversized.since(clock()) == {EVENT: Refused(2, day), REQUEST: Refused(3, day)}
    clock.advance(days=1)
    assert usher.oversized.since(clock()) == {}


def test_a_stranger_writes_a_row_a_day_however_many_they_send(usher: App) -> None:
    """And none before the count is flushed: an unsigned request touches no database."""
    database = usher.store.database
    for _ in range(500):
        usher.oversized.count(SMALL)
    assert rows(database, "SELECT name FROM counters") == []
    for _ in range(3):
        usher.oversized.count(SMALL)
        assert usher.oversized.flush() is False
    found = rows(database, "SELECT name, value FROM counters")
    assert found == [(f"oversized:{NOON:%Y-%m-%d}:request", 503)]


def test_counts_of_old_days_are_removed_with_the_next_one(usher: App, clock: Clock) -> None:
    """Whoever sends such requests for years leaves the rows of ninety days."""
    for _ in range(3):
        usher.oversized.count(SMALL)
        usher.oversized.count(LARGE)
        usher.oversized.flush()
        clock.advance(days=90)
    left = {name for (name,) in rows(usher.store.database, "SELECT name FROM counters")}
    days = [f"{NOON + timedelta(days=after):%Y-%m-%d}" for after in (90, 180)]
    assert left == {f"oversized:{day}:{kind}" for day in days for kind in (EVENT, REQUEST)}


def test_what_cannot_be_written_is_kept_for_the_next_time(
    usher: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database was away; nothing is lost, nothing counts twice."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)
    usher.oversized.count(SMALL)
    with locked(usher.settings.database_url, "counters"):
        with pytest.raises(DatabaseError):
            usher.oversized.flush()
        usher.flush_oversized()  # logged, not raised
        usher.oversized.count(SMALL)
    usher.flush_oversized()
    usher.flush_oversized()
    assert usher.oversized.since(NOON)[REQUEST].count == 2


def test_a_function_writes_the_count_with_its_next_event(usher: App) -> None:
    """It has no periodic tasks, and may be ended without notice."""
    large = signed("login", account(user_metadata={"x": "x" * 300_000}), at=NOON.replace(day=1))
    assert call(large)["statusCode"] == 413
    assert usher.oversized.since(NOON) == {}
    assert call(signed("signup", account()))["statusCode"] == 200
    assert usher.oversized.since(NOON)[REQUEST].count == 1
