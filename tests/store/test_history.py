"""Streaming a ledger: in small pieces, every delivery once, in order, by instance and by filter."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from tests.store.store_support import deliver, raw, users_of
from tests.support import NOON, Clock, account, signed, verified
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.domain.records import AuditEntry
from usher.core.store import history
from usher.core.store.filters import DeliveryFilters
from usher.core.store.history import History

ELSEWHERE = UUID(int=7)


@pytest.fixture
def busy(usher: App, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> App:
    """Three people with three events each, in turns; one at another instance; one unreadable."""
    monkeypatch.setattr(history, "CHUNK", 2)
    people = [account(email=f"p{number}@example.com") for number in range(3)]
    for event in ("signup", "login", "usermodified"):
        for who in people:
            clock.advance(seconds=1)
            delivery = signed(event, who, at=clock())
            usher.webhooks.process([verified(usher.webhooks, delivery, clock())])
    deliver(usher, [signed("signup", account(), instance_id=ELSEWHERE), raw(b"[]")])
    return usher


def test_deliveries_come_in_the_order_of_arrival(busy: App) -> None:
    """All of them, or one instance's, or those after a place."""
    kept = History(busy.store.database)
    sequences = [each.sequence or 0 for each in kept.deliveries()]
    assert sequences == sorted(sequences)
    assert len(sequences) == 11
    assert [each.sequence for each in kept.deliveries(after=sequences[8])] == sequences[9:]
    assert len(list(History(busy.store.database, ELSEWHERE).deliveries())) == 1
    assert len(list(History(busy.store.database, UUID(int=0)).deliveries())) == 10


def test_filters_narrow_a_history(busy: App) -> None:
    """By event, outcome, user and time."""
    kept = History(busy.store.database, UUID(int=0))
    one = next(kept.deliveries()).user_id
    for filters, count in [
        (DeliveryFilters(event="login"), 3),
        (DeliveryFilters(outcome="invalid"), 1),
        (DeliveryFilters(user_id=one), 3),
        (DeliveryFilters(since=NOON + timedelta(seconds=8)), 2),
        (DeliveryFilters(until=NOON + timedelta(seconds=2)), 2),
    ]:
        assert len(list(kept.deliveries(filters))) == count, filters


def test_acts_stand_where_they_happened(busy: App, clock: Clock) -> None:
    """After the delivery that was the newest then; bounded by the same times."""
    services = history.History(busy.store.database, UUID(int=0))
    users = users_of(busy, UUID(int=0))
    ada = users.page(limit=1).items[0]
    clock.advance(seconds=1)
    users.change(ada, administration.grant("editor"), Change("cli:boss"))
    clock.advance(seconds=1)
    who = account(user_id=ada.id, email=ada.email)
    delivery = signed("login", who, at=clock())
    busy.webhooks.process([verified(busy.webhooks, delivery, clock())])
    steps = list(services.merged(with_acts=True))
    places = [index for index, step in enumerate(steps) if isinstance(step, AuditEntry)]
    assert places == [len(steps) - 2]
    nothing = DeliveryFilters(since=NOON, until=NOON)
    assert list(services.merged(nothing, with_acts=True)) == []
