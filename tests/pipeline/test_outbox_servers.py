"""Several servers that work for one consumer, of several releases perhaps."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from time import sleep
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update

from tests.pipeline.outbox_hook import Hook, Site
from tests.pipeline.outbox_support import NAME, PEOPLE, Impatient
from tests.store.store_support import LogLines, is_waited_for
from tests.support import Clock
from usher.core.domain.outbox_shards import SHARDS
from usher.core.errors import DatabaseAwayError
from usher.core.outbox.dispatcher import Dispatcher, Turn
from usher.core.store import outbox_shards
from usher.core.store.database import Database
from usher.core.store.outbox import Queue, lock_consumer
from usher.core.store.outbox_rows import UNSEEN
from usher.core.store.outbox_shards import Look, newest_entry
from usher.core.store.tables import CONSUMERS

ADA, BEA, CY = PEOPLE[:3]
"""In one shard."""
BOTH = frozenset({"user.suspended", "user.reactivated"})


@pytest.fixture
def site(database_url: str, clock: Clock) -> Iterator[Site]:
    """A site on each database, whose consumer began before anything happened."""
    database = Database(database_url)
    yield Site(database, clock)
    database.dispose()


class Deployment:
    """Two servers with one handler, of which only the new one is for reactivations, too."""

    def __init__(self, site: Site) -> None:
        self.site = site
        site.change(ADA, BEA, CY)
        self.old_hook = Hook(name="handler:site.hooks.x", patterns=frozenset({"user.suspended"}))
        self.new_hook = Hook(name="handler:site.hooks.x", patterns=BOTH)
        self.old_start = site.clock()
        self.old = self.start(self.old_hook, self.old_start)
        site.work(self.old)
        site.clock.advance(seconds=30)

    def start(self, hook: Hook, started_at: datetime) -> Dispatcher:
        """Start a process of one of the servers."""
        return Dispatcher(
            Queue(self.site.database),
            Impatient(self.site.database),
            hook,
            self.site.clock,
            uuid4(),
            started_at=started_at,
        )

    def suspend(self, *people: UUID) -> None:
        """Suspend people, or let them in again."""
        for who in people:
            work = self.site.world.begin()
            self.site.world.suspend(work, who)
            self.site.world.end(work)


def test_what_only_the_server_started_last_is_for_waits_for_it(
    site: Site,
) -> None:
    """During a deployment: a position is one for both, and must not pass what one is not for."""
    both = Deployment(site)
    new = both.start(both.new_hook, site.clock())
    both.suspend(ADA)
    site.work(both.old)
    new.turn()
    log = LogLines()
    both.suspend(ADA, BEA)
    site.work(both.old)
    both.suspend(BEA)
    site.work(both.start(both.old_hook, both.old_start))  # respawned; its server is the old one
    site.work(both.old)
    assert both.old_hook.kinds == ["user.suspended"]
    assert len(log("outbox.other_kinds")) == 2  # one for each process
    site.work(new)
    assert both.new_hook.kinds == ["user.reactivated", "user.suspended", "user.reactivated"]


def test_an_older_server_goes_on_once_the_newer_one_is_long_gone(site: Site) -> None:
    """One that never came up, say, so that the deployment was taken back."""
    both = Deployment(site)
    started_at = site.clock()
    new = both.start(both.new_hook, started_at)
    new.turn()
    both.suspend(ADA)
    site.clock.advance(minutes=14)
    site.work(both.old)
    assert both.old_hook.got == []
    site.clock.advance(minutes=2)
    site.work(both.old)
    assert both.old_hook.kinds == ["user.suspended"]
    both.suspend(ADA)
    site.work(both.start(both.new_hook, started_at))  # it came up after all
    assert both.new_hook.kinds == ["user.reactivated"]
    both.suspend(BEA)
    site.work(both.old)
    assert len(both.old_hook.got) == 1


def test_kinds_that_came_to_count_while_a_server_looked_stop_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is taken for those alone that count in the same transaction."""
    both = Deployment(site)
    new = both.start(both.new_hook, site.clock())
    both.suspend(ADA)
    both.suspend(ADA)
    between_look_and_claim(monkeypatch, lambda _: new.turn())
    both.old.turn()
    site.work(both.old)
    assert both.old_hook.got == []
    site.work(new)
    assert both.new_hook.kinds == ["user.suspended", "user.reactivated"]


def test_a_server_with_the_same_kinds_counts_from_its_own_start(site: Site) -> None:
    """Else one that was started between the two would take the work from the newest one."""
    both = Deployment(site)
    between = site.clock()
    site.clock.advance(seconds=30)
    newest_hook = Hook(name=both.old_hook.name, patterns=both.old_hook.patterns)
    newest = both.start(newest_hook, site.clock())
    newest.turn()
    site.work(both.start(both.new_hook, between))
    both.suspend(ADA)
    site.work(both.start(both.new_hook, between))
    assert both.new_hook.got == []
    site.work(newest)
    assert newest_hook.kinds == ["user.suspended"]


def between_look_and_claim(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[Look], object]
) -> None:
    """Have something happen once, as soon as a dispatcher has looked."""
    look = Queue.look

    def seen(queue: Queue, name: str, now: datetime) -> Look:
        found = look(queue, name, now)
        monkeypatch.setattr(Queue, "look", look)
        happens(found)
        return found

    monkeypatch.setattr(Queue, "look", seen)


def test_a_shard_that_another_server_took_meanwhile_is_left_to_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look is without a lock."""
    site.change(ADA)
    until = site.clock() + timedelta(seconds=30)

    def taken(look: Look) -> None:
        queue = Queue(site.database)
        assert queue.claim(look.shards[0], uuid4(), site.clock(), until, alive=False)

    between_look_and_claim(monkeypatch, taken)
    site.work()
    assert site.hook.got == []
    site.clock.advance(seconds=30)
    site.work()
    assert len(site.hook.got) == 3


def test_where_another_server_took_a_shard_meanwhile_the_others_are_worked_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends as soon as nothing is due must not end there."""
    monkeypatch.setattr(random, "randrange", lambda _: SHARDS - 1)  # 0 is the first
    first, other = site.dispatcher(), PEOPLE[3]
    site.change(ADA, other)
    until = site.clock() + timedelta(seconds=30)

    def taken(look: Look) -> None:
        assert Queue(site.database).claim(look.shards[0], uuid4(), site.clock(), until, alive=False)

    between_look_and_claim(monkeypatch, taken)
    site.work(first)
    assert {change.user.id for change in site.hook.got} == {other}


def test_a_consumer_forgotten_meanwhile_begins_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is handed over for a place that is gone."""
    site.change(ADA)
    fresh = site.dispatcher()
    site.clock.advance(minutes=6)
    between_look_and_claim(
        monkeypatch, lambda _: site.world.outbox.forget(site.hook.name, "user:admin")
    )
    site.work(fresh)
    site.work(fresh)
    site.change(BEA)
    site.work(fresh)
    assert {change.user.id for change in site.hook.got} == {BEA}


def test_a_server_that_comes_back_while_its_consumer_is_pruned_goes_on_where_it_was(
    postgresql_url: str, clock: Clock
) -> None:
    """After a month; a consumer that began anew would miss what came in between."""
    database = Database(postgresql_url)
    site = Site(database, clock)
    clock.advance(days=UNSEEN.days + 1)
    site.change(ADA)

    def prune() -> None:
        try:
            site.world.outbox.prune(clock(), 100)
        except DatabaseAwayError:  # it waits for a lock two seconds at most
            prune()

    with ThreadPoolExecutor(1) as thread:
        with database.write() as transaction:
            lock_consumer(transaction, NAME)
            pruned = thread.submit(prune)
            server = transaction.sql.execute(select(func.pg_backend_pid())).scalar_one()
            while not is_waited_for(database, server):
                assert not pruned.done()
                sleep(0.01)
            transaction.sql.execute(update(CONSUMERS).values(seen_at=clock()))
        pruned.result(60)
    site.work()
    assert {change.user.id for change in site.hook.got} == {ADA}
    database.dispose()


def test_a_removed_sink_never_begins(site: Site) -> None:
    """Nor does a known consumer begin twice."""
    site.hook.name = f"sink:{uuid4()}"
    removed = site.dispatcher()
    assert removed.turn() == Turn()
    assert [one.name for one in site.world.outbox.standings()] == [NAME]
    site.hook.name = NAME
    site.change(ADA)
    assert Queue(site.database).begin(NAME, 99, site.clock())
    site.work()
    assert len(site.hook.got) == 3


def test_a_position_follows_the_changes_of_other_shards(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each look would pass over all of them."""
    monkeypatch.setattr(outbox_shards, "MOST_BEHIND", 2)
    site.change(*[PEOPLE[3]] * 4)
    for _ in range(SHARDS):
        site.work()
    with site.database.read() as transaction:
        positions = set(transaction.sql.execute(select(CONSUMERS.c.position)).scalars())
        assert positions == {newest_entry(transaction)}
