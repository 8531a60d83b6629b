"""The look that all who wait for a change share."""

from __future__ import annotations

import pytest

from tests.store.store_support import deliver, executed
from tests.support import account, signed
from usher.core.app import App
from usher.core.domain.outbox import Change, Kind
from usher.core.store import feed, sizes
from usher.core.store.feed import BEGINNING, News


def newest(usher: App) -> int:
    """The place of now."""
    return usher.feed.place_of(None).sequence


def test_news_are_the_kinds_since_a_place(usher: App) -> None:
    """And how far they go; before any event there are none."""
    assert usher.feed.news(0) == News(0, frozenset())
    deliver(usher, [signed("signup", account(email="ada@example.com"))])
    place = newest(usher)
    assert usher.feed.news(0) == News(
        place, frozenset({"user.created", "user.confirmed", "role.granted"})
    )
    assert usher.feed.news(place) == News(place, frozenset())


def test_news_without_an_end_wake_everybody(usher: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """More entries than one look reads may hold any kind; their pages tell."""
    monkeypatch.setattr(feed, "SCAN", 2)
    deliver(usher, [signed("signup", account(email=f"{n}@example.com")) for n in range(3)])
    assert usher.feed.news(0) == News(newest(usher), frozenset(Kind))


def test_a_look_at_nothing_new_reads_one_number(usher: App) -> None:
    """It is made twice a second."""
    deliver(usher, [signed("signup", account(email="ada@example.com"))])
    place = newest(usher)
    with executed(usher.store.database) as statements:
        assert usher.feed.news(place) == News(place, frozenset())
    assert ["max(audit.sequence)" in each.text for each in statements] == [True]


def test_a_page_follows_the_key_of_the_audit(usher: App) -> None:
    """However long it is."""
    deliver(usher, [signed("signup", account(email="ada@example.com"))])
    with executed(usher.store.database) as statements:
        usher.feed.page(BEGINNING, frozenset({"*"}), 50)
    sizes_and_page = [each for each in statements if "ORDER BY audit.sequence" in each.text]
    assert len(sizes_and_page) == 2
    for each in sizes_and_page:
        plan = each.plan(usher.store.database)
        assert "USING INTEGER PRIMARY KEY" in plan or "audit_pkey" in plan
        assert "SCAN audit" not in plan


def test_large_entries_are_read_a_few_at_a_time(
    usher: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One person writes as much as a server has memory for, change by change."""
    deliver(usher, [signed("signup", account(email=f"{n}@example.com")) for n in range(3)])
    everything = usher.feed.page(BEGINNING, frozenset({"*"}), 50)
    monkeypatch.setattr(sizes, "READ_BYTES", 1)
    found: list[Change] = []
    page = usher.feed.page(BEGINNING, frozenset({"*"}), 50)
    while page.more:
        assert len({change.sequence for change in page.changes}) == 1
        found += page.changes
        page = usher.feed.page(page.place, frozenset({"*"}), 50)
    assert (*found, *page.changes) == everything.changes
    assert page.place == everything.place
    assert usher.feed.news(0) == News(newest(usher), frozenset(Kind))


def test_a_failover_that_lost_entries_wakes_everybody(usher: App) -> None:
    """Their cursors may be of entries that are lost."""
    deliver(usher, [signed("signup", account(email="ada@example.com"))])
    place = newest(usher)
    assert usher.feed.news(place + 1) == News(place, frozenset(Kind))
