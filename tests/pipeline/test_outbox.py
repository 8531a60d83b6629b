"""The dispatcher, one case after the other; the whole of it is in test_outbox_machine.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import delete, select, update

from tests.pipeline.outbox_hook import MANY, Hook, Site
from tests.pipeline.outbox_support import NAME, PEOPLE, Impatient, Killed
from tests.store.store_support import LogLines, execute
from tests.support import Clock
from usher.core.domain import outbox_attempts, outbox_queue
from usher.core.domain.outbox import Change, Kind, Write
from usher.core.domain.outbox_queue import DEATHS, State
from usher.core.domain.outbox_shards import SHARDS
from usher.core.domain.records import AuditEntry
from usher.core.errors import (
    ChangeNotFoundError,
    DatabaseAwayError,
    IdentityUnavailableError,
    RoleInvalidError,
    UsherError,
)
from usher.core.outbox import dispatcher as module
from usher.core.outbox.consumer import Done, Failed, Gone, Result
from usher.core.outbox.dispatcher import Dispatcher, Turn
from usher.core.outbox.watch import Watch
from usher.core.store import sizes
from usher.core.store.database import Database, Transaction
from usher.core.store.instances import Instances
from usher.core.store.outbox import Entries, Queue
from usher.core.store.outbox_rows import UNSEEN
from usher.core.store.outbox_shards import Look, newest_entry
from usher.core.store.tables import AUDIT, CONSUMERS, OUTBOX, USERS
from usher.core.users import UserService
from usher.emulator.payload import ZERO_INSTANCE

ADA, BEA, CY = PEOPLE[:3]
"""In one shard."""


@pytest.fixture
def site(database_url: str, clock: Clock) -> Iterator[Site]:
    """A site on each database, whose consumer began before anything happened."""
    database = Database(database_url)
    yield Site(database, clock)
    database.dispose()


def test_a_transaction_that_commits_late_is_not_passed_over(
    postgresql_url: str, clock: Clock
) -> None:
    """Its changes have smaller numbers than those that were committed before it."""
    database = Database(postgresql_url)
    site = Site(database, clock)
    early, late = site.world.begin(), site.world.begin()
    site.world.do(early, ADA)
    site.world.do(late, BEA)
    site.world.end(late)
    site.work()
    seen = {change.user.id for change in site.hook.got}
    site.world.end(early)
    site.work()
    assert ADA not in seen
    assert {change.user.id for change in site.hook.got} == {ADA, BEA}
    assert len(site.hook.got) == 6
    assert site.hook.got[-1].user.id == BEA
    database.dispose()


def test_after_a_failover_that_lost_entries_none_of_those_under_way_is_passed_over(
    postgresql_url: str, clock: Clock
) -> None:
    """Others get the numbers of the lost ones, which were known to be all there."""
    database = Database(postgresql_url)
    site = Site(database, clock)
    site.change(CY, CY, CY, CY)
    site.work()
    site.hook.got.clear()
    execute(database, "DELETE FROM audit WHERE sequence > 1")
    execute(database, "UPDATE outbox_consumers SET position = 1")
    execute(database, "SELECT setval(pg_get_serial_sequence('audit', 'sequence'), 1)")
    early, late = site.world.begin(), site.world.begin()
    site.world.do(early, ADA)
    site.world.do(late, BEA)
    site.world.end(late)
    site.work()
    site.world.end(early)
    site.work()
    site.change(BEA)
    site.work()
    told = [change.user.id for change in site.hook.got]
    assert told == [ADA, ADA, ADA, BEA, BEA, BEA, BEA]
    database.dispose()


def test_a_new_consumer_gets_what_comes_from_now_on(site: Site) -> None:
    """History is not handed over."""
    lines = LogLines()
    site.change(ADA)
    late = site.dispatcher()
    site.hook.name = "handler:site.hooks.late"
    site.work(late)
    assert site.hook.got == []
    assert lines("outbox.handed_over") == []
    site.change(ADA)
    site.work(late)
    assert site.hook.kinds == ["user.changed"]
    told = [(line["consumer"], line["changes"]) for line in lines("outbox.handed_over")]
    assert told == [(site.hook.name, 1)]


def test_a_server_that_lost_its_lease_hands_nothing_more_over(site: Site) -> None:
    """The other one has gone on with the shard, and has handed it over."""
    other = site.dispatcher()
    slow: list[int] = []

    def answer(_: Change) -> Result:
        if not slow:
            slow.append(1)
            site.clock.advance(seconds=600)
            site.work(other)
        return Done()

    site.hook.answer = answer
    site.change(ADA, BEA, CY)
    site.work()
    ids = [change.id for change in site.hook.got]
    assert len(ids) == 1 + 9  # the first one twice
    assert ids[0] == ids[1]


def test_a_retried_dead_letter_goes_before_what_waits(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one person's rows the first is due, and no other."""
    monkeypatch.setattr(outbox_attempts, "MAX_TRIES", 1)
    site.change(ADA)
    site.hook.answer = lambda _: Failed("no")
    site.work()
    monkeypatch.setattr(outbox_attempts, "MAX_TRIES", 9)
    site.change(ADA)
    site.work()
    dead = site.rows(State.DEAD)
    assert [row.kind for row in dead] == ["user.created", "user.confirmed", "role.granted"]
    site.world.outbox.retry(dead[0].id, "user:admin")
    (first, waiting) = site.rows(State.WAITING)
    assert first.id == dead[0].id
    assert (first.due_at, first.tries, waiting.due_at) == (site.clock(), 0, None)
    site.hook.got.clear()
    site.hook.answer = lambda _: Done()
    site.work()
    assert site.hook.kinds == ["user.created", "user.changed"]


def test_a_skipped_change_lets_those_behind_it_go(site: Site) -> None:
    """And the audit tells who skipped it, and which; a second time there is none."""
    site.change(ADA)
    site.hook.answer = lambda _: Failed("no")
    site.work()
    first, second, third = site.rows()
    assert (second.due_at, third.due_at) == (None, None)
    site.hook.answer = lambda _: Done()
    site.hook.got.clear()
    site.world.outbox.skip(first.id, "user:admin")
    site.work()
    assert site.hook.kinds == ["user.confirmed", "role.granted"]
    with site.database.read() as transaction:
        entry = transaction.sql.execute(
            select(AUDIT).where(AUDIT.c.action == "outbox.skipped")
        ).one()
    assert entry.actor == "user:admin"
    assert entry.after["change_id"] == first.change_id
    with pytest.raises(ChangeNotFoundError, match=str(first.id)):
        site.world.outbox.skip(first.id, "user:admin")
    with pytest.raises(ChangeNotFoundError):
        site.world.outbox.retry(first.id, "user:admin")


def test_a_consumer_that_is_gone_keeps_its_place(site: Site) -> None:
    """All that it did not take waits for it, in the audit."""
    site.change(ADA, BEA)
    site.hook.answer = lambda change: Gone("410") if change.user.id == BEA else Done()
    turn = site.work()
    assert (turn.gone, turn.more) == ("410", False)
    assert site.rows() == []
    site.hook.got.clear()
    site.hook.answer = lambda _: Done()
    site.work()
    assert [change.user.id for change in site.hook.got] == [BEA] * 3


def test_a_change_at_which_processes_end_does_not_hold_up_the_others(site: Site) -> None:
    """After some of them it counts as failed; its person's later ones wait, nobody else's."""

    def answer(change: Change) -> Result:
        if change.user.id == BEA:
            raise Killed
        return Done()

    site.hook.answer = answer
    site.change(ADA, BEA, CY)
    deaths = 0
    for _ in range(MANY):
        try:
            site.work(site.dispatcher())
        except Killed:
            deaths += 1
            site.clock.advance(seconds=100)
    assert deaths <= DEATHS + 1
    assert {change.user.id for change in site.hook.got} == {ADA, BEA, CY}
    (failing, *held) = site.rows()
    assert (failing.user_id, failing.error) == (BEA, module.ENDED)
    assert [row.due_at for row in held] == [None, None]
    # so it is with a retry
    site.clock.advance(seconds=100)
    with pytest.raises(Killed):
        site.work(site.dispatcher())
    site.clock.advance(seconds=100)
    with pytest.raises(Killed):
        site.work(site.dispatcher())
    site.clock.advance(seconds=1)
    site.work(site.dispatcher())
    assert site.rows()[0].tries > failing.tries


class Starts(Hook):
    """A consumer that is started first."""

    starts: Callable[[], Failed | None] = lambda: None

    def start(self) -> Failed | None:
        """Start it."""
        return self.starts()


def test_a_start_that_outlasts_the_lease_hands_nothing_over(site: Site) -> None:
    """Another server has the change by then; one that fails is a failed attempt."""
    hook = site.hook = Starts()
    site.is_for("user.created")
    other, slow = site.dispatcher(), site.dispatcher()
    site.change(ADA)

    def takes_long() -> None:
        hook.starts = lambda: None
        site.clock.advance(seconds=60)
        assert site.work(other) == Turn(known=1)
        hook.answer = lambda _: pytest.fail("handed over twice")

    hook.starts = takes_long
    assert site.work(slow).handed_over == 0
    assert len(hook.got) == 1
    hook.starts = lambda: Failed("its module is gone")
    site.change(BEA)
    site.work(slow)
    assert [row.error for row in site.rows()] == ["its module is gone"]


@pytest.fixture
def service(site: Site) -> UserService:
    """The records."""
    return UserService(site.database, "admin", site.clock, Instances(ZERO_INSTANCE))


def test_what_a_handler_writes_is_kept_with_the_change_or_not_at_all(
    site: Site, service: UserService
) -> None:
    """A kill before the commit leaves neither; then both come."""
    dies: list[int] = [1]

    def apply(transaction: Transaction, name: str, change: Change, write: Write) -> None:
        assert name == NAME
        values = {"provider": str(write.app_metadata["customer"])}
        mine = update(USERS).where(USERS.c.id == change.user.id)
        transaction.sql.execute(mine.values(values))
        if dies:
            dies.clear()
            raise Killed

    site.hook.answer = lambda change: Done(Write(app_metadata={"customer": len(site.hook.got)}))
    site.is_for("user.created")
    site.change(ADA)
    with pytest.raises(Killed):
        site.work(site.dispatcher(apply=apply))
    assert service.get(ADA).provider == ""
    site.clock.advance(seconds=100)
    site.work(site.dispatcher(apply=apply))
    assert service.get(ADA).provider == "2"
    assert [change.id for change in site.hook.got] == [site.hook.got[0].id] * 2


def test_what_may_not_be_written_is_a_failure_of_the_handler(site: Site) -> None:
    """The change waits, and its row says why."""

    def apply(_: Transaction, __: str, ___: Change, ____: Write) -> None:
        raise RoleInvalidError("No role is called so.")

    site.hook.answer = lambda _: Done(Write(grant=("no such",)))
    site.change(ADA)
    site.work(site.dispatcher(apply=apply))
    assert site.rows()[0].error == "role_invalid: No role is called so."
    site.change(BEA)
    site.work()
    assert "nothing takes" in site.rows()[3].error


def test_with_too_many_failures_new_changes_stay_in_the_audit(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the table does not grow while a receiver is away."""
    monkeypatch.setattr(module, "MOST_FAILING", 2)
    monkeypatch.setattr(module, "MOST_REFUSED", 1)
    site.hook.answer = lambda _: Failed("no")
    site.is_for("user.created")
    site.change(ADA, BEA)
    site.work()
    site.change(CY)
    site.work()
    assert [row.user_id for row in site.rows()] == [ADA, BEA]
    site.hook.answer = lambda _: Done()
    site.clock.advance(seconds=60)
    site.work()
    site.clock.advance(seconds=60)
    site.work()
    assert site.rows() == []
    assert site.hook.got[-1].user.id == CY


def test_people_for_whom_a_handler_fails_keep_it_from_nobody_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many: anybody may sign up with what a handler cannot take. Their own changes wait."""
    monkeypatch.setattr(module, "MOST_FAILING", 2)
    monkeypatch.setattr(module, "MOST_REFUSED", 2)
    site.hook.answer = lambda change: Done() if change.user.id == CY else Failed("no")
    site.change(ADA, BEA)
    site.work()
    site.change(ADA, CY, BEA, CY)
    site.work()
    assert CY not in {change.user.id for change in site.hook.got}
    site.clock.advance(seconds=5)
    site.work()
    assert [one.kind.value for one in site.hook.got if one.user.id == CY] == [
        "user.created", "user.confirmed", "role.granted", "user.changed",
    ]  # fmt: skip
    assert {row.user_id for row in site.rows()} == {ADA, BEA}


def test_failures_between_changes_that_are_taken_hold_up_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many people there are for whom a handler fails: it is there, for others."""
    monkeypatch.setattr(module, "MOST_FAILING", 2)
    monkeypatch.setattr(module, "MOST_REFUSED", 3)
    site.hook.answer = lambda change: Done() if change.user.id == CY else Failed("no")
    site.is_for("user.created", "user.changed")
    failing = [UUID(int=100 + number) for number in range(6)]
    site.change(ADA, BEA)
    site.work()
    site.change(*failing[:2], CY, *failing[2:4], CY, *failing[4:], CY)
    site.work()
    assert len([change for change in site.hook.got if change.user.id == CY]) == 3
    assert len(site.rows()) == 2 + len(failing)


def read_at_once(monkeypatch: pytest.MonkeyPatch, part: Callable[[Entries], Sized]) -> list[int]:
    """How large this part of each page is that is read from now on."""
    read: list[int] = []
    page = Queue.page

    def counted(*given: Any) -> Entries:
        found = page(*given)
        read.append(len(part(found)))
        return found

    monkeypatch.setattr(Queue, "page", counted)
    return read


def test_large_entries_are_read_a_few_at_a_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one person could write more than the process has memory for."""
    monkeypatch.setattr(sizes, "READ_BYTES", 1)
    read = read_at_once(monkeypatch, lambda page: page.found)
    site.change(ADA, BEA, ADA, CY)
    site.work()
    assert max(read) == 1
    told = [(change.user.id, change.kind.value) for change in site.hook.got]
    assert [kind for who, kind in told if who == ADA][-1] == "user.changed"
    assert len(told) == len(set(told)) == 3 * 3 + 1
    assert site.rows() == []


def test_large_changes_that_are_due_are_read_a_few_at_a_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a page are; one whose entry is gone is dropped all the same."""
    site.hook.answer = lambda _: Failed("no")
    site.is_for("user.created")
    site.change(ADA, BEA, CY)
    site.work()
    [gone] = [row.sequence for row in site.rows() if row.user_id == BEA]
    with site.database.write() as transaction:
        transaction.sql.execute(delete(AUDIT).where(AUDIT.c.sequence == gone))
    monkeypatch.setattr(sizes, "READ_BYTES", 1)
    read: list[int] = []
    due = Queue.due

    def counted(*given: Any) -> Any:
        rows, entries, people = due(*given)
        read.append(max(len(entries), len(people)))
        return rows, entries, people

    monkeypatch.setattr(Queue, "due", counted)
    site.hook.answer = lambda _: Done()
    site.hook.got.clear()
    site.clock.advance(minutes=1)
    site.work()
    assert max(read) == 1
    assert [change.user.id for change in site.hook.got] == [ADA, CY]
    assert [(row.user_id, row.state) for row in site.rows()] == [(BEA, State.DROPPED)]


def test_people_with_large_records_are_read_a_few_at_a_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small their changes are."""
    site.change(ADA, BEA, CY)
    site.work()
    site.change(ADA, BEA, CY)
    with site.database.write() as transaction:
        large = {"app_metadata": {"large": "x" * 2_000}}
        transaction.sql.execute(update(USERS).values(large))
    monkeypatch.setattr(sizes, "READ_BYTES", 3_000)
    read = read_at_once(monkeypatch, lambda page: page.people)
    site.hook.got.clear()
    site.work()
    assert max(read) == 1
    assert [change.user.id for change in site.hook.got] == [ADA, BEA, CY]


def test_a_page_of_the_audit_with_large_entries_is_short(
    site: Site, service: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its cursor goes on, so all of them come, the newest first."""
    site.change(ADA, BEA, ADA, CY)
    whole = service.audit_page(limit=50)
    assert whole.next_cursor is None
    monkeypatch.setattr(sizes, "READ_BYTES", 1)
    found: list[AuditEntry] = []
    cursor = None
    for _ in whole.items:
        one = service.audit_page(limit=50, cursor=cursor)
        assert len(one.items) == 1
        found += one.items
        cursor = one.next_cursor
    assert (tuple(found), cursor) == (whole.items, None)


def test_people_for_whom_a_handler_is_slow_keep_it_from_nobody_else(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New changes have as much time as those that are tried again."""
    monkeypatch.setattr(outbox_attempts, "LONGEST_BACK_OFF", outbox_attempts.FIRST_BACK_OFF)
    seconds = 0.0

    def answer(change: Change) -> Result:
        nonlocal seconds
        seconds += 1 if change.user.id == CY else 30
        site.clock.advance(seconds=0 if change.user.id == CY else 30)
        return Done() if change.user.id == CY else Failed("took too long")

    site.hook.answer = answer
    main = site.dispatcher(ticks=lambda: seconds)
    site.change(ADA, BEA)
    for _ in range(4):
        main.turn()
    site.change(*[CY] * 8)
    site.hook.got.clear()
    while sum(change.user.id == CY for change in site.hook.got) < 8 + 2:
        main.turn()
    assert sum(change.user.id != CY for change in site.hook.got) <= 2
    for _ in range(4):
        main.turn()
    assert site.hook.got[-1].user.id != CY


def test_while_a_receiver_is_away_one_change_is_tried_every_so_often(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table grows by no more than that, whatever comes in."""
    monkeypatch.setattr(module, "MOST_FAILING", 1)
    monkeypatch.setattr(module, "MOST_REFUSED", 1)
    monkeypatch.setattr(outbox_attempts, "FIRST_BACK_OFF", timedelta(hours=1))
    site.hook.answer = lambda _: Failed("no")
    site.is_for("user.created")
    site.change(ADA)
    site.work()
    site.change(BEA, CY)
    for seconds, people in ((4, [ADA]), (1, [ADA, BEA]), (4, [ADA, BEA]), (1, [ADA, BEA, CY])):
        for _ in range(SHARDS):
            site.main.turn()
        site.clock.advance(seconds=seconds)
        site.change(PEOPLE[3])
        for _ in range(SHARDS):
            site.main.turn()
        assert [row.user_id for row in site.rows() if row.user_id in (ADA, BEA, CY)] == people


def test_an_exception_is_kept_by_its_type_alone(site: Site) -> None:
    """Its message may hold anything of the person."""

    def answer(change: Change) -> Result:
        raise ValueError(change.user.email)

    site.hook.answer = answer
    site.change(ADA)
    site.work()
    assert site.rows()[0].error == "ValueError"


def test_the_audit_keeps_what_a_consumer_has_not_come_to(site: Site, service: UserService) -> None:
    """And what waits; and its newest entry. A consumer that nobody runs any more keeps nothing."""
    site.change(ADA)
    site.clock.advance(seconds=1)
    site.change(BEA)
    later = site.clock() + timedelta(days=1)

    def left() -> list[UUID]:
        service.prune_audit(later, step=100)
        with site.database.read() as transaction:
            found = select(AUDIT.c.user_id).order_by(AUDIT.c.sequence)
            return list(transaction.sql.execute(found).scalars())

    assert left() == [ADA, BEA]
    site.hook.answer = lambda change: Failed("no") if change.user.id == BEA else Done()
    site.work()
    assert left() == [BEA]
    site.clock.advance(seconds=1)
    site.change(CY)
    site.clock.advance(days=UNSEEN.days + 1)
    later = site.clock()
    assert left() == [BEA, CY]  # what waits still does
    site.world.outbox.prune(later, 100)
    assert left() == [CY]
    with site.database.read() as transaction:
        assert transaction.sql.execute(select(CONSUMERS)).all() == []
        assert transaction.sql.execute(select(OUTBOX)).all() == []


def test_a_row_whose_entry_is_gone_is_dropped(site: Site) -> None:
    """It says so, and does not hold up the person's others."""
    site.hook.answer = lambda _: Failed("no")
    site.change(ADA)
    site.work()
    with site.database.write() as transaction:
        transaction.sql.execute(delete(AUDIT))
    site.clock.advance(seconds=60)
    site.work()
    assert [(row.state, row.error) for row in site.rows()] == [(State.DROPPED, module.PRUNED)] * 3


def test_dead_letters_go_after_their_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As deliveries do; what waits stays."""
    monkeypatch.setattr(outbox_attempts, "MAX_TRIES", 1)
    site.hook.answer = lambda _: Failed("no")
    site.change(ADA)
    site.work()
    assert site.world.outbox.prune(site.clock(), 100) == 0
    assert site.world.outbox.prune(site.clock() + timedelta(seconds=1), 2) == 2
    assert site.world.outbox.prune(site.clock() + timedelta(seconds=1), 2) == 1
    assert site.rows() == []


def test_a_deletion_erases_the_words_of_handlers(site: Site) -> None:
    """The rows stay until user.deleted takes their place."""
    site.hook.answer = lambda _: Failed("ada@example.com is taken")
    site.change(ADA)
    site.work()
    assert site.rows()[0].error
    work = site.world.begin()
    site.world.delete(work, ADA)
    site.world.end(work)
    assert {row.error for row in site.rows()} == {""}
    site.hook.answer = lambda _: Done()
    site.hook.got.clear()
    site.work()
    assert site.hook.kinds == ["user.deleted"]
    assert site.rows() == []


def test_a_handler_that_fails_while_the_person_is_deleted_leaves_no_words(site: Site) -> None:
    """They come after the erasure. Words about the deletion itself stay: it has ids alone."""

    def answer(change: Change) -> Result:
        if change.kind is not Kind.USER_DELETED:
            work = site.world.begin()
            site.world.delete(work, ADA)
            site.world.end(work)
        return Failed("Ada Lovelace is taken" if change.user.email else "no such customer")

    site.hook.answer = answer
    site.is_for("user.created")
    site.change(ADA)
    site.work()
    assert [(row.user_id, row.tries, row.error) for row in site.rows()] == [(ADA, 1, "")]
    site.is_for("user.deleted")
    site.work()
    assert [row.error for row in site.rows()] == ["no such customer"]


def test_a_person_for_whom_a_handler_fails_has_no_rows_without_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later changes stay in the audit, and none is lost: they come in order, and once."""
    for each in (outbox_queue, module):
        monkeypatch.setattr(each, "MOST_HELD", 3)
    site.hook.answer = lambda change: Failed("no") if change.user.id == ADA else Done()
    site.change(ADA)
    site.work()
    for _ in range(9):
        site.change(ADA, BEA)
        site.work()
    shown = site.rows()
    assert [row.kind for row in shown] == ["user.created", "user.confirmed", "role.granted"]
    assert site.world.outbox.standings()[0].waiting == 4
    led = site.world.outbox.led_by_person(site.world.users[ADA]).items
    assert [each.outstanding[0].state for each in led] == ["to_come"] * 9 + ["waiting"] * 3
    assert len(site.hook.got) > 11  # those of Bea did not wait
    for number in range(shown[-1].id, shown[-1].id + 9):
        if number not in {row.id for row in shown}:  # the mark is nobody's to skip
            with pytest.raises(ChangeNotFoundError):
                site.world.outbox.skip(number, "user:admin")

    monkeypatch.setattr(sizes, "READ_BYTES", 1)  # as if each change were large
    site.hook.answer = lambda _: Done()
    site.hook.got.clear()
    for row in shown:
        site.world.outbox.skip(row.id, "user:admin")
    site.change(ADA)
    site.work()
    assert [change.sequence for change in site.hook.got] == sorted(
        change.sequence for change in site.hook.got
    )
    assert [change.user.id for change in site.hook.got] == [ADA] * 10
    assert site.world.outbox.standings()[0].waiting == 0


def test_the_audit_keeps_what_stands_behind_a_mark(
    site: Site, service: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also once nothing but the mark is left."""
    for each in (outbox_queue, module):
        monkeypatch.setattr(each, "MOST_HELD", 1)
    site.hook.answer = lambda _: Failed("no")
    site.change(ADA)
    site.work()
    site.change(ADA, ADA)
    site.work()
    for row in site.rows():
        site.world.outbox.skip(row.id, "user:admin")
    assert site.rows() == []
    later = site.clock() + timedelta(days=1)
    service.prune_audit(later, step=100)
    site.hook.answer = lambda _: Done()
    site.hook.got.clear()
    site.work()
    assert site.hook.kinds == ["user.changed", "user.changed"]


class Counting(Queue):
    """A queue whose looks are counted."""

    looks = 0

    def look(self, name: str, now: datetime) -> Look:
        """As there."""
        self.looks += 1
        return super().look(name, now)


def test_an_idle_consumer_makes_no_look_of_its_own(site: Site) -> None:
    """Until something came, is due, is old enough, or it must show that it is there."""
    seconds = [0.0]
    queue = Counting(site.database)
    watch = Watch(queue, site.clock, lambda: seconds[0])
    idle = Dispatcher(queue, Impatient(site.database), site.hook, site.clock, uuid4(), watch=watch)

    def looks(*, passes: float = 1) -> int:
        before = queue.looks
        seconds[0] += passes
        site.clock.advance(seconds=int(passes))
        site.work(idle)
        return queue.looks - before

    assert [looks() for _ in range(4)] == [1, 0, 0, 0]
    site.change(BEA)
    assert looks(passes=0.1) == 0  # the look of a moment ago counts
    assert looks() > 0
    assert len(site.hook.got) == 3
    assert looks() == 0

    site.hook.answer = lambda _: Failed("no")
    site.change(BEA)
    looks()
    assert [looks(), looks()] == [1, 0]
    assert looks(passes=6) > 0  # it is due
    assert len(site.hook.got) == 5
    site.world.outbox.retry(site.rows()[0].id, "user:admin")
    site.hook.answer = lambda _: Done()
    looks()
    assert len(site.hook.got) == 6

    looks()
    site.change(CY, origin="live")
    looks()
    looks()
    assert [looks() for _ in range(4)] == [0] * 4
    looks(passes=20)
    assert len(site.hook.got) == 9
    looks()
    assert looks() == 0
    assert looks(passes=60) == 1


def test_a_handler_begins_where_its_server_began_and_anew_once_forgotten(site: Site) -> None:
    """Nothing that came before its first turn is missed."""
    site.change(ADA)
    with site.database.read() as transaction:
        began = newest_entry(transaction)
    site.change(BEA)
    site.hook.name = "handler:site.hooks.late"
    late = site.dispatcher(begins_at=began)
    site.work(late)
    assert {change.user.id for change in site.hook.got} == {BEA}
    site.hook.got.clear()
    site.clock.advance(minutes=5)  # while no server works for it
    site.world.outbox.forget(site.hook.name, "user:admin")
    site.work(late)
    assert site.hook.got == []
    site.change(CY)
    site.work(late)
    assert {change.user.id for change in site.hook.got} == {CY}


def test_where_identity_is_local_a_signup_does_not_wait(site: Site) -> None:
    """A server says how long Identity may roll back."""
    site.change(ADA, origin="live")
    site.work()
    assert site.hook.got == []
    site.hook.name = "handler:site.hooks.local"
    local = site.dispatcher(begins_at=0, settling=timedelta())
    site.work(local)
    assert len(site.hook.got) == 3


def test_a_consumer_says_which_kinds_it_is_for(site: Site) -> None:
    """So nobody reads that a change is still to come to a handler which is not for it."""
    site.hook.patterns = frozenset({"role.*"})
    site.hook.name = "handler:site.hooks.roles"
    roles = site.dispatcher()
    site.work(roles)
    site.change(ADA)

    def to_come() -> list[list[str]]:
        led = site.world.outbox.led_by_person(site.world.users[ADA]).items
        return [[each.consumer for each in one.outstanding] for one in led[::-1]]

    assert to_come() == [[NAME], [NAME], [site.hook.name, NAME]]
    site.is_for("user.created")
    site.main.turn()
    assert to_come()[0] == [NAME]  # it has come to all of them
    site.change(BEA)
    led = site.world.outbox.led_by_person(site.world.users[BEA]).items
    assert [len(each.outstanding) for each in led[::-1]] == [2, 1, 1]


def test_an_identity_that_does_not_say_is_a_failed_attempt(site: Site) -> None:
    """The change waits; a database that is away ends the turn, and nothing is kept."""

    class Silent:
        error: UsherError = IdentityUnavailableError("no answer")

        def has(self, user_id: UUID) -> bool:
            raise self.error

    site.change(ADA, origin="live")
    site.clock.advance(seconds=20)
    accounts = Silent()
    asks = site.dispatcher(accounts=accounts)
    accounts.error = DatabaseAwayError("away")
    with pytest.raises(DatabaseAwayError):
        asks.turn()
    assert site.rows() == []
    accounts.error = IdentityUnavailableError("no answer")
    site.work(asks)
    first, *behind = site.rows()
    assert (first.tries, first.error) == (1, f"Identity could not be asked: {accounts.error.code}")
    assert [row.due_at for row in behind] == [None, None]
    assert site.hook.got == []


def test_a_write_without_anybody_to_take_it_is_a_failure(site: Site) -> None:
    """It is never lost without a word."""
    site.hook.answer = lambda _: Done(Write(grant=("member",)))
    site.change(ADA)
    site.work()
    assert site.rows()[0].error == "nothing takes what this handler returned"


def test_a_retried_change_that_is_too_young_waits_for_its_time(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often somebody asks for it."""
    monkeypatch.setattr(module, "PAGE", 1)  # more follows, so what is too young becomes rows
    site.is_for("user.created")
    site.change(ADA, origin="live")
    site.change(BEA)
    site.work()
    [row] = site.rows()
    site.world.outbox.retry(row.id, "user:admin")
    site.work()
    assert [one.due_at for one in site.rows()] == [row.due_at]
    site.clock.advance(seconds=20)
    site.work()
    assert [change.user.id for change in site.hook.got] == [BEA, ADA]


def test_a_slow_retry_leaves_the_others_for_the_next_turn(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a turn is for what is due."""
    site.hook.answer = lambda _: Failed("no")
    site.is_for("user.created")
    site.change(ADA, BEA)
    site.work()
    seconds = [0.0]
    slow = site.dispatcher(ticks=lambda: seconds[0])

    def takes_its_time(_: Change) -> Result:
        seconds[0] += 1.5
        return Done()

    site.hook.answer = takes_its_time
    site.hook.got.clear()
    site.clock.advance(minutes=1)
    for expected in (1, 2):
        while len(site.hook.got) < expected:
            slow.turn()
        assert len(site.rows()) == 2 - expected
