"""Two processes on one database: whatever meets, one effect and identical answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from tests.store.store_support import checked, counts, deliver
from tests.support import NOON, Clock, Signed, account, databases, signed
from usher.core.app import App
from usher.core.domain.records import Status
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective
from usher.core.settings import Settings
from usher.core.store.database import Transaction
from usher.core.store.ledger import Known

THREADS = 8

database_url = databases("sqlite", "postgresql", "pg8000")


@pytest.fixture
def other(usher: App, make_settings: Callable[..., Settings], clock: Clock) -> Iterator[App]:
    """Another process's App: an engine of its own on the same database."""
    app = App(make_settings(database_url=usher.settings.database_url), clock)
    yield app
    app.close()


def at_once(work: Sequence[tuple[App, Sequence[Signed]]]) -> list[list[Reply | Exception]]:
    """Each batch in a thread of its own, all let go at the same moment."""
    start = Barrier(len(work))

    def run(app: App, batch: Sequence[Signed]) -> list[Reply | Exception]:
        ready = checked(app, batch)
        _ = app.store
        start.wait(10)
        return app.webhooks.process(ready)

    with ThreadPoolExecutor(len(work)) as pool:
        futures = [pool.submit(run, app, batch) for app, batch in work]
        return [future.result() for future in futures]


@pytest.mark.parametrize("known", [False, True], ids=["new user", "known user"])
def test_the_same_delivery_at_both_at_once_has_one_effect(
    usher: App, other: App, known: bool
) -> None:
    """Whoever comes second finds the stored reply, and gives the very same answer."""
    for _ in range(3):
        ada = account()
        if known:
            deliver(usher, [signed("validate", ada, at=NOON - timedelta(seconds=9))])
        before = counts(usher.store.database)
        delivery = signed("signup", ada)
        answers = at_once([((usher, other)[n % 2], [delivery]) for n in range(THREADS)])
        assert [answer[0] for answer in answers] == [answers[0][0]] * THREADS
        assert isinstance(answers[0][0], Reply)
        assert answers[0][0].status == 200
        after = counts(usher.store.database)
        assert after["deliveries"] == before["deliveries"] + 1
        assert after["users"] == before["users"] + (not known)
        assert after["audit"] == before["audit"] + 1
        assert after["grants"] == before["grants"] + 2


def test_different_events_of_one_new_user_at_both_at_once_are_all_applied(
    usher: App, other: App, clock: Clock
) -> None:
    """None is lost or refused; the record is what any order of them makes."""
    ada = account()
    names = ("validate", "signup", "login", "login", "usermodified", "login")
    events = [signed(n, ada, at=NOON + timedelta(seconds=s)) for s, n in enumerate(names)]
    answers = at_once([((usher, other)[n % 2], [each]) for n, each in enumerate(events)])
    assert {answer[0].status for answer in answers if isinstance(answer[0], Reply)} <= {200, 204}
    assert all(isinstance(answer[0], Reply) for answer in answers)
    user = usher.store.users.find(str(ada.id))
    assert user.status is Status.ACTIVE
    assert effective(user.grants, clock()) == {"member", "staff"}
    assert user.last_seen_at == NOON + timedelta(seconds=5)
    assert counts(usher.store.database)["deliveries"] == len(events)


def test_batches_that_meet_in_opposite_order_are_both_stored(usher: App, other: App) -> None:
    """Locks that would wait for each other end in a second try, never in a lost delivery."""
    for _ in range(2):
        batch = [signed("signup", account(email=f"p{n}@example.com")) for n in range(20)]
        answers = at_once([(usher, batch), (other, batch[::-1])])
        assert answers[0] == answers[1][::-1]
        assert all(isinstance(answer, Reply) for answer in answers[0])
    expected = {"users": 40, "grants": 80, "deliveries": 40, "audit": 40}
    assert counts(usher.store.database) == expected


def test_a_delivery_that_another_process_stores_midway_gets_the_reply_stored_there(
    postgresql_url: str,
    make_settings: Callable[..., Settings],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between our look into the ledger and our insert: the batch splits, and reads it there."""
    first = App(make_settings(database_url=postgresql_url), clock)
    second = App(make_settings(database_url=postgresql_url), clock)
    batch = [signed("signup", account(email=f"p{n}@example.com")) for n in range(3)]
    elsewhere: list[Any] = []
    original = first.store.ledger.known

    def known(transaction: Transaction, ids: Sequence[str]) -> Known:
        found = original(transaction, ids)
        if not elsewhere:
            elsewhere.extend(deliver(second, [batch[1]]))
        return found

    monkeypatch.setattr(first.store.ledger, "known", known)
    answers = deliver(first, batch)
    assert answers[1] == elsewhere[0]
    assert [answer.status for answer in answers if isinstance(answer, Reply)] == [200] * 3
    assert counts(first.store.database)["deliveries"] == counts(first.store.database)["users"] == 3
    first.close()
    second.close()


def test_batches_from_several_threads_of_one_process_are_all_stored(usher: App) -> None:
    """A process that writes from more than one thread loses nothing either."""
    batches = [[signed("signup", account()) for _ in range(5)] for _ in range(4)]
    answers = at_once([(usher, batch) for batch in batches])
    assert all(isinstance(answer, Reply) for each in answers for answer in each)
    assert counts(usher.store.database)["users"] == 20
