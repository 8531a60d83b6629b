"""What the outbox must hold, whatever happens, over the real store of both databases.

A few histories here, always the same ones; as many new ones as you like with, for instance,
``HISTORIES=2000 python -m pytest -n 0 tests/pipeline/test_outbox_machine.py``.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack
from typing import Any, Final
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from tests.pipeline.outbox_support import (
    NAME,
    PEOPLE,
    Impatient,
    Killed,
    Mortal,
    Open,
    Told,
    World,
    deletion_of,
)
from tests.profiles import examples
from tests.support import Clock
from usher.core.domain import outbox_attempts, outbox_queue
from usher.core.domain.outbox import Change
from usher.core.domain.outbox_queue import SETTLING, State, Waiting
from usher.core.domain.outbox_view import Filters
from usher.core.outbox import dispatcher
from usher.core.outbox.consumer import Done, Failed, Result
from usher.core.outbox.dispatcher import Dispatcher
from usher.core.store.database import Database
from usher.core.store.tables import AUDIT, CONSUMERS, DELIVERIES, GRANTS, OUTBOX, SILENT, USERS

HISTORIES = int(os.environ.get("HISTORIES", "0"))
GHOST = PEOPLE[-1]
"""Identity rolls back all that it sends of this account."""
MOST_TRIES = 3
WHO = st.sampled_from(PEOPLE)
FATE = st.sampled_from(("done",) * 6 + ("fails", "fails", "raises", "killed", "is slow"))
TABLES = (USERS, GRANTS, DELIVERIES, AUDIT, CONSUMERS, OUTBOX, SILENT)


class Accounts:
    """Identity, which never has one account."""

    def has(self, user_id: UUID) -> bool:
        """Whether it has this one."""
        return user_id != GHOST


Step = tuple[str, dict[str, Any]]


def step(name: str, **chosen: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """A method of ``History`` and what it is given."""
    return st.tuples(st.just(name), st.fixed_dictionaries(chosen))


DEEDS = step(
    "deeds_begin",
    who=st.lists(WHO, min_size=1, max_size=3),
    origin=st.sampled_from(
        ("", "", "live", "live", "live", "trigger", "replay", "effects", "silent")
    ),
    actor=st.sampled_from(("user:admin", "identity", "identity", NAME)),
)
END = step("deeds_end", back=st.integers(0, 2), rolled_back=st.sampled_from((False,) * 4 + (True,)))
TURN = step("turn", number=st.integers(0, 1), fates=st.lists(FATE, min_size=2, max_size=8))
STEPS = st.one_of(
    DEEDS,
    DEEDS,
    END,
    END,
    TURN,
    TURN,
    step("status_changes", who=WHO, deletes=st.booleans()),
    step(
        "turn_that_ends_early",
        number=st.integers(0, 1),
        dies_in=st.integers(1, 5),
        late=st.booleans(),
    ),
    step("restarts", number=st.integers(0, 1), same=st.booleans()),
    step("time_passes", seconds=st.sampled_from((1, 21, 45, 100, 90_000))),
    step("administrator_acts", back=st.integers(0, 5), skips=st.booleans()),
)


class History:
    """Deeds, two dispatchers of one consumer, their deaths, administrators, and time."""

    name: Final = NAME
    patterns: Final = frozenset({"*"})
    seconds: Final = 5.0

    def __init__(self, database: Database) -> None:
        self.database = database
        with self.database.write() as transaction:
            for table in TABLES:
                transaction.sql.execute(delete(table))
        self.clock = Clock()
        self.world = World(self.database, self.clock)
        self.open: list[Open] = []
        self.fates: list[str] = []
        self.ids: dict[Told, str] = {}
        self.taken: set[Told] = set()
        self.failures: Counter[Told] = Counter()
        self.skipped: set[Told] = set()
        self.wrong: list[str] = []
        self.queues = [Mortal(self.database), Mortal(self.database)]
        self.leases = [uuid4(), uuid4()]
        self.dispatchers = [self._dispatcher(0), self._dispatcher(1)]
        self.dispatchers[0].turn()

    def _dispatcher(self, number: int) -> Dispatcher:
        return Dispatcher(
            self.queues[number],
            Impatient(self.database),
            self,
            self.clock,
            self.leases[number],
            accounts=Accounts(),
        )

    # --- what happens -------------------------------------------------------------------------

    def deeds_begin(self, who: list[UUID], origin: str, actor: str) -> None:
        """A transaction writes changes, and stays open."""
        if len(self.open) == (1 if self.database.is_sqlite else 3):
            return
        free = [one for one in who if self._is_free(one)]
        if free:
            work = self._begin()
            for one in free:
                self.world.do(work, one, origin=origin, actor=actor)

    def deeds_end(self, back: int, rolled_back: bool) -> None:
        """One of the open transactions ends, not always the oldest."""
        if self.open:
            work = self.open.pop(back % len(self.open))
            self.world.end(work, rolled_back=rolled_back)

    def status_changes(self, who: UUID, deletes: bool) -> None:
        """Somebody is suspended, let in again, or deleted."""
        if not self.open and who in self.world.users and self._is_free(who):
            work = self._begin()
            (self.world.delete if deletes else self.world.suspend)(work, who)
            self.open.remove(work)
            self.world.end(work)

    def turn(self, number: int, fates: list[str]) -> None:
        """A dispatcher works for a turn; this becomes of the next changes."""
        if self._is_locked():
            return
        self.fates = fates
        self._turn(number)
        self.fates = []

    def turn_that_ends_early(self, number: int, dies_in: int, late: bool) -> None:
        """A dispatcher is killed at one of its transactions."""
        if self._is_locked():
            return
        self.queues[number].dies_in, self.queues[number].late = dies_in, late
        self._turn(number)
        self.queues[number].dies_in = None

    def restarts(self, number: int, same: bool) -> None:
        """A process takes the place of another one, with its lease or with one of its own."""
        self._restart(number, same=same)

    def time_passes(self, seconds: int) -> None:
        """Time passes."""
        self.clock.advance(seconds=seconds)

    def administrator_acts(self, back: int, skips: bool) -> None:
        """Somebody skips a change, or has it retried."""
        rows = () if self._is_locked() else self.world.outbox.page(Filters()).items
        if not rows:
            return
        row = rows[back % len(rows)]
        if skips:
            self.world.outbox.skip(row.id, "user:admin")
            self.skipped.add(self._told_by(row))
        else:
            self.world.outbox.retry(row.id, "user:admin")

    # --- what a consumer sees -----------------------------------------------------------------

    def hand_over(self, change: Change) -> Result:
        """Take one change, and look whether it may come now."""
        told = Told(change.reason or deletion_of(change.user.id), change.kind, change.role)
        try:
            self._check(told, change)
        except AssertionError as error:  # to a dispatcher, one more handler that raises
            self.wrong.append(str(error))
        fate = self.fates.pop(0) if self.fates else "done"
        if fate == "killed":
            raise Killed
        if fate == "fails":
            self.failures[told] += 1
            return Failed("does not answer", 7.0)
        if fate == "raises":
            self.failures[told] += 1
            raise ValueError(change.user.email)
        if fate == "is slow":  # so slow that the other one takes the lease
            self.clock.advance(seconds=120)
            fates, self.fates = self.fates, []
            self._turn(0)
            self._turn(1)
            self.fates = fates
        self.taken.add(told)
        return Done()

    def _check(self, told: Told, change: Change) -> None:
        assert told.deed in self.world.committed, f"{told} was rolled back, or is not to be told"
        assert self.ids.setdefault(told, change.id) == change.id, "another key"
        assert len(set(self.ids.values())) == len(self.ids), "one key for two changes"
        who = change.user.id
        mine = self.world.told[who]
        assert told in mine, "not to be told"
        if self.world.users[who].deleted_at:
            assert told.kind == "user.deleted"
            assert change.user.email == ""
            return
        began = self.world.starts.get(told.deed)
        if began is not None:
            assert who != GHOST
            assert self.clock() >= began + SETTLING
        for earlier in mine[: mine.index(told)]:
            assert earlier in self.taken or self._is_settled(earlier, who), (earlier, told)

    def _told_by(self, row: Waiting) -> Told:
        entry = select(AUDIT.c.reason).where(AUDIT.c.sequence == row.sequence)
        with self.database.read() as transaction:
            deed = transaction.sql.execute(entry).scalar_one()
        return Told(deed or deletion_of(row.user_id), row.kind, row.role)

    def _is_settled(self, told: Told, who: UUID) -> bool:
        """Whether nobody waits for it any more, though it was not taken."""
        if who == GHOST and told.deed in self.world.starts:
            return True
        return self.failures[told] >= MOST_TRIES or told in self.skipped

    # --- what must hold -----------------------------------------------------------------------

    def the_first_of_each_person_is_due_alone(self) -> None:
        """Of somebody's waiting rows the first one has a time."""
        if self._is_locked():
            return
        columns = OUTBOX.c.user_id, OUTBOX.c.due_at
        rows = select(*columns).where(OUTBOX.c.state == State.WAITING.value)
        with self.database.read() as transaction:
            ordered = rows.order_by(OUTBOX.c.user_id, OUTBOX.c.sequence, OUTBOX.c.part)
            last = None
            for user_id, due_at in transaction.sql.execute(ordered):
                assert (due_at is not None) == (user_id != last)
                last = user_id

    def everything_is_told(self) -> None:
        """In the end, once all is well."""
        while self.open:
            self.world.end(self.open.pop())
        for number in (0, 1):
            self._restart(number, same=False)
        self._work_off()
        assert self.wrong == []
        for who, mine in self.world.told.items():
            deleted = bool(self.world.users[who].deleted_at)
            for told in mine:
                gives_way = deleted and told.kind != "user.deleted"
                assert told in self.taken or gives_way or self._is_settled(told, who), told
        assert not self.world.outbox.page(Filters(State.WAITING)).items
        assert [one.behind for one in self.world.outbox.standings()] == [0]

    def _work_off(self) -> None:
        for _ in range(40):
            self.clock.advance(hours=7)
            while self._turn(0) or self._turn(1):
                pass
            waiting = self.world.outbox.standings()[0]
            if not waiting.behind + waiting.waiting:
                return

    # --- small things -------------------------------------------------------------------------

    def _begin(self) -> Open:
        work = self.world.begin()
        self.open.append(work)
        return work

    def close(self) -> None:
        """Give back what a failure left open: Hypothesis plays one many times.

        Connections that are kept would soon make the next failure another one.
        """
        with ExitStack() as stack:
            for work in self.open:
                stack.callback(self.world.end, work, rolled_back=True)

    def _turn(self, number: int) -> bool:
        try:
            turn = self.dispatchers[number].turn()
            return turn.more or turn.handed_over > 0
        except Killed:
            self._restart(number, same=False)
            return True

    def _restart(self, number: int, *, same: bool) -> None:
        if not same:
            self.leases[number] = uuid4()
        self.queues[number] = Mortal(self.database)
        self.dispatchers[number] = self._dispatcher(number)

    def _is_locked(self) -> bool:
        """Whether nobody else can write now."""
        return self.database.is_sqlite and bool(self.open)

    def _is_free(self, who: UUID) -> bool:
        user = self.world.users.get(who)
        busy = any(who in work.users for work in self.open)
        return not busy and (user is None or not user.deleted_at)


@pytest.mark.timeout(300 + 10 * HISTORIES)
def test_every_committed_change_is_handed_over_in_order_and_no_other(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once, in order per person, with one key; a rolled-back one never."""
    monkeypatch.setattr(outbox_attempts, "MAX_TRIES", MOST_TRIES)
    monkeypatch.setattr(outbox_attempts, "LOOKS", 2)
    for module in (outbox_queue, dispatcher):
        monkeypatch.setattr(module, "MOST_HELD", 2)
    database = Database(database_url)

    @settings(
        max_examples=HISTORIES or examples(20),
        suppress_health_check=list(HealthCheck),
        derandomize=not HISTORIES,
    )
    @given(st.lists(STEPS, min_size=40, max_size=60))
    def holds(steps: list[Step]) -> None:
        history = History(database)
        try:
            for name, given_ in steps:
                getattr(history, name)(**given_)
                assert history.wrong == []
                history.the_first_of_each_person_is_due_alone()
            history.everything_is_told()
        finally:
            history.close()

    holds()
    database.dispose()
