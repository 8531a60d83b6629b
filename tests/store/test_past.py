"""What a trial reads: everybody's events in their order, and the records, whatever the pieces."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from tests.store.store_support import deliver, execute, executed, raw, users_of
from tests.support import NOON, Clock, account, signed, verified
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.store import past
from usher.core.store.past import Past
from usher.emulator.payload import ZERO_INSTANCE

ELSEWHERE = UUID(int=7)
NAMES = ["signup", "login", "usermodified"]
PEOPLE = (UUID(int=0), UUID(int=5), UUID(int=(1 << 128) - 1))
"""The least id and the greatest among them."""


@pytest.fixture
def busy(usher: App, clock: Clock) -> App:
    """Three people with three events each, in turns; one at another instance; one unreadable."""
    people = [account(user_id=each, email=f"p{each.int % 7}@example.com") for each in PEOPLE]
    for name in NAMES:
        for who in people:
            clock.advance(seconds=1)
            delivery = signed(name, who, at=clock())
            usher.webhooks.process([verified(usher.webhooks, delivery, clock())])
    deliver(usher, [signed("signup", account(), instance_id=ELSEWHERE), raw(b"[]")])
    return usher


@pytest.mark.parametrize("page", [1, 2, 9, 2_000])
def test_histories_come_whole_and_in_order(
    busy: App, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """User by user, each with all events in order of receipt, whatever the size of the pieces."""
    monkeypatch.setattr(past, "PAGE", page)
    found = list(Past(busy.store.database, ZERO_INSTANCE).histories())
    assert [history[0][0].user.id for history in found] == list(PEOPLE)
    for history in found:
        assert [event.name.value for event, _ in history] == NAMES
        assert [at for _, at in history] == sorted(at for _, at in history)


def test_histories_of_a_part_of_all_users(busy: App) -> None:
    """Both ends of the range count; all instances come where none is meant."""
    ours = Past(busy.store.database, ZERO_INSTANCE)
    some = ours.histories(None, PEOPLE[0], PEOPLE[1])
    assert [history[0][0].user.id for history in some] == list(PEOPLE[:2])
    assert [len(history) for history in Past(busy.store.database, None).histories()] == [3, 3, 3, 1]


def test_histories_since_a_time(busy: App) -> None:
    """Earlier events are left out, and users without any."""
    ours = Past(busy.store.database, ZERO_INSTANCE)
    since = NOON + timedelta(seconds=8)
    assert [[e.name.value for e, _ in one] for one in ours.histories(since)] == [
        ["usermodified"]
    ] * 2
    assert list(ours.histories(since + timedelta(days=1))) == []


def test_what_cannot_be_decided_again_is_left_out(busy: App) -> None:
    """Erased bodies: the deleted user's deliveries are kept without them."""
    users = users_of(busy, ZERO_INSTANCE)
    users.change(users.get(PEOPLE[1]), administration.delete(), Change("cli:boss", force=True))
    ours = Past(busy.store.database, ZERO_INSTANCE)
    for found in (ours.histories(), ours.newest(100)):
        assert {history[0][0].user.id for history in found} == {PEOPLE[0], PEOPLE[2]}


@pytest.mark.parametrize("page", [2, 2_000])
@pytest.mark.parametrize(
    ("most", "names"),
    [
        (0, []), (3, [["usermodified"]] * 3), (4, [NAMES[1:]] + [["usermodified"]] * 2),
        (100, [NAMES] * 3),
    ],
)  # fmt: skip
def test_the_newest_events_are_the_ends_of_the_histories(
    busy: App, monkeypatch: pytest.MonkeyPatch, page: int, most: int, names: list[list[str]]
) -> None:
    """So many at most, user by user, each in order; first the one whose event is the newest."""
    monkeypatch.setattr(past, "PAGE", page)
    found = list(Past(busy.store.database, ZERO_INSTANCE).newest(most))
    assert [[event.name.value for event, _ in history] for history in found] == names
    assert [one[0][0].user.id for one in found] == list(reversed(PEOPLE))[: len(found)]


def test_the_newest_events_of_all_instances_are_so_many_at_most(busy: App) -> None:
    """What cannot be read counts, too: the work has a bound."""
    everything = Past(busy.store.database, None)
    assert sum(map(len, everything.newest(100))) == 10
    assert sum(map(len, everything.newest(4))) <= 4


@pytest.mark.parametrize("page", [1, 2, 2_000])
def test_records_come_in_order_with_their_grants(
    busy: App, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """As the user service gives them; the greatest id ends the range."""
    monkeypatch.setattr(past, "PAGE", page)
    users = users_of(busy, ZERO_INSTANCE)
    ours = Past(busy.store.database, ZERO_INSTANCE)
    assert list(ours.records()) == [users.get(each) for each in PEOPLE]
    assert next(ours.records()).grants
    assert [user.id for user in ours.records(PEOPLE[1], PEOPLE[1])] == [PEOPLE[1]]
    assert [user.id for user in Past(busy.store.database, None).records()] == list(PEOPLE)


def test_each_piece_is_found_by_the_index(busy: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """No piece reads what is before it, and none is sorted: a large ledger costs no more a row."""
    monkeypatch.setattr(past, "PAGE", 2)
    ours = Past(busy.store.database, ZERO_INSTANCE)
    with executed(busy.store.database) as statements:
        list(ours.histories())
        list(ours.newest(3))
        list(ours.records())
    if not busy.store.database.is_sqlite:
        execute(busy.store.database, "ANALYZE")
    plans = [one.plan(busy.store.database) for one in statements if "FROM" in one.text]
    assert len(plans) > 6
    for plan in plans:
        assert "Sort" not in plan
        assert "TEMP B-TREE" not in plan
    if busy.store.database.is_sqlite:
        assert "deliveries_user (instance_id=? AND user_id>? AND user_id<?)" in plans[0]
