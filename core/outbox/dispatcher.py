"""The dispatcher of one consumer: takes a shard for a turn, hands over, and keeps what was done.

A kill at any moment loses nothing: what was not kept is handed over again. No transaction is open
while a consumer has a change.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Final
from uuid import UUID

from msgspec import Struct, structs

from usher.core.domain.outbox import Kind
from usher.core.domain.outbox_attempts import failed
from usher.core.domain.outbox_queue import (
    DEATHS,
    MOST_HELD,
    SETTLING,
    WHOLE,
    Action,
    State,
    Step,
    Waiting,
    behind_mark,
    plan_page,
    row_of,
    step_again,
)
from usher.core.domain.outbox_shards import SHARDS, lease_of
from usher.core.log import get_logger
from usher.core.outbox.attempts import Accounts, Apply, Attempts, GoneError
from usher.core.outbox.consumer import Consumer, Failed
from usher.core.outbox.watch import Watch
from usher.core.outbox.work import Work
from usher.core.store.complete import Complete
from usher.core.store.outbox import LeaseLostError, Queue
from usher.core.store.outbox_shards import Look, Shard

PAGE: Final = 256
"""Entries of the audit that are read at once."""
DUE: Final = 64
"""Waiting rows that are read at once."""
SEEN_EVERY: Final = timedelta(minutes=1)
MOST_FAILING: Final = 1_000
"""With so many failing changes in a shard and ``MOST_REFUSED``, the receiver is away, and new ones
stay in the audit. One is tried every so often: where it is taken, the failures are those of some
people alone."""
MOST_REFUSED: Final = 100
"""New changes that failed one after the other, of all shards, and none was taken between them."""
FAILING_REST: Final = timedelta(seconds=5)
NEVER: Final = datetime.min.replace(tzinfo=UTC)
ENDED: Final = "the process ended each time while this was handed over"
PRUNED: Final = "the audit no longer has the entry"


class Turn(Struct, frozen=True):
    """The result of a turn.

    Attributes:
        handed_over: how many changes the consumer took.
        more: whether there is more to do at once.
        gone: why the consumer wants no change any more; empty: it does.
        worked: whether a shard had something to do.
        known: the entry up to which the audit is complete.
    """

    handed_over: int = 0
    more: bool = False
    gone: str = ""
    worked: bool = False
    known: int = 0


class Dispatcher:
    """Hands changes over to one consumer; for one thread.

    Args:
        complete: follows the audit; for this dispatcher alone.
        clock: gives the current time, UTC.
        lease: this process's; a process that takes its place may have the same.
        accounts: None where Identity cannot be asked.
        apply: None where no consumer writes.
        ticks: seconds of a clock that only goes forward.
        begins_at: the entry after which a new consumer begins; None: the newest one at its first
            turn.
        started_at: when the server was started; None: now.
        settling: after so long Identity no longer rolls back.
        watch: looks for all consumers of the process; None: this one looks alone.
    """

    def __init__(
        self,
        queue: Queue,
        complete: Complete,
        consumer: Consumer,
        clock: Callable[[], datetime],
        lease: UUID,
        *,
        accounts: Accounts | None = None,
        apply: Apply | None = None,
        ticks: Callable[[], float] = monotonic,
        begins_at: int | None = None,
        started_at: datetime | None = None,
        settling: timedelta = SETTLING,
        watch: Watch | None = None,
    ) -> None:
        self._queue = queue
        self._complete = complete
        self._consumer = consumer
        self._kinds = sorted(consumer.patterns)
        self._clock = clock
        self._lease = lease
        self._attempts = Attempts(consumer, clock, accounts, apply)
        self._ticks = ticks
        self._begins_at = begins_at
        self._started_at = started_at or clock()
        self._settling = settling
        self._watch = watch
        self._known = 0
        self._last = random.randrange(SHARDS)  # noqa: S311 - one that soon ends must not begin alike
        self._open: set[int] = set()
        self._refused = 0
        self._careful: dict[int, int] = {}
        self._rests: dict[int, tuple[int, datetime]] = {}
        self._tries_one_at: dict[int, datetime] = {}
        self._owed: dict[int, float] = {}
        self._seen_at: datetime | None = None
        self._waits = False
        self._idle_at, self._idle_until = 0, NEVER

    def turn(self) -> Turn:
        """Work on one shard for a while.

        Raises:
            DatabaseError: the database cannot be used.
        """
        name, now = self._consumer.name, self._clock()
        if self._is_idle(now):
            return Turn(known=self._known)
        self._idle_until = NEVER
        look = self._queue.look(name, now)
        if not look.shards:
            return self._begin(now)
        self._begins_at = None  # forgotten later, it begins anew with what comes from then on
        if not self._counts(look, now):
            return Turn(known=self._known)
        if look.newest != self._known:  # a smaller one: a failover lost rows
            self._known = self._complete.up_to() or 0
        chosen = self._choose(look, now)
        if chosen is None:
            self._note_idle(look, now)
            return Turn(known=self._known)
        number = self._last = chosen.shard
        until = now + lease_of(self._consumer.seconds)
        alive = number in self._open
        mine = structs.replace(chosen, kinds=self._kinds)
        shard = self._queue.claim(mine, self._lease, now, until, alive=alive)
        if shard is None:  # the next look tells why
            return Turn(more=True, known=self._known)
        self._open.add(number)
        if shard.tries:
            self._careful[number] = PAGE
        work = Work(self._queue, self._consumer, shard, self._clock, self._ticks)
        try:
            turn = self._work(work)
        except LeaseLostError:
            get_logger().warning("outbox.lease_lost", consumer=name, shard=number)
            turn = Turn(work.handed_over)
        self._open.discard(number)
        if turn.handed_over:
            get_logger().info("outbox.handed_over", consumer=name, changes=turn.handed_over)
        return structs.replace(turn, worked=True, known=self._known)

    # --- which shard --------------------------------------------------------------------------

    def _begin(self, now: datetime) -> Turn:
        """Make a new consumer known; it gets what comes from now on."""
        position = self._complete.up_to() if self._begins_at is None else self._begins_at
        if position is None:
            return Turn()  # a transaction is under way; the next turn looks again
        name = self._consumer.name
        if not self._queue.begin(name, position, now, self._kinds, self._started_at):
            return Turn()
        get_logger().info("outbox.began", consumer=name, position=position)
        return Turn(more=True)

    def _counts(self, look: Look, now: datetime) -> bool:
        """Whether the consumer is for the same kinds with this server as with that started last."""
        name, noted = self._consumer.name, look.shards[0].kinds
        if self._seen_at is None or now - self._seen_at >= SEEN_EVERY:
            counts = self._queue.seen(name, now, self._kinds, self._started_at)
            self._seen_at = now
        else:
            counts = noted == self._kinds
        if not counts and not self._waits:
            get_logger().warning(
                "outbox.other_kinds", consumer=name, kinds=self._kinds, noted=noted
            )
        self._waits = not counts
        return counts

    def _choose(self, look: Look, now: datetime) -> Shard | None:
        """The next shard with something to do that nobody else works on."""
        for shard in sorted(look.shards, key=lambda one: (one.shard - self._last - 1) % SHARDS):
            if shard.lease not in (None, self._lease) and shard.lease_until > now:
                continue
            follows = shard.follows and self._is_complete(shard)
            if shard.due or (follows and not self._rests_still(shard, now)):
                return shard
        return None

    def _is_complete(self, shard: Shard) -> bool:
        """Whether an entry after the place of a shard may be read."""
        if shard.part == WHOLE:
            return shard.position < self._known
        return shard.position <= self._known

    def _rests_still(self, shard: Shard, now: datetime) -> bool:
        """Whether all that follows is too young, and nothing came since that was seen."""
        known, until = self._rests.get(shard.shard, (0, now))
        return known == self._known and now < until

    def _is_idle(self, now: datetime) -> bool:
        """Whether the look for all consumers tells that this one has nothing to do."""
        if self._watch is None or now >= self._idle_until:
            return False
        signs = self._watch.signs()
        return signs.newest == self._idle_at and self._consumer.name not in signs.due

    def _note_idle(self, look: Look, now: datetime) -> None:
        """Note for how long nothing is to do, unless something comes or is due."""
        self._idle_at = look.newest
        if look.newest > self._known:
            return
        until = (self._seen_at or now) + SEEN_EVERY
        for shard in look.shards:
            if shard.due or (shard.follows and not self._rests_still(shard, now)):
                return  # another server works on it
            if shard.follows:
                until = min(until, self._rests[shard.shard][1])
        self._idle_until = until

    # --- a turn -------------------------------------------------------------------------------

    def _work(self, work: Work) -> Turn:
        more, gone = False, ""
        try:
            more = self._try_again(work)
            more = self._go_on(work) or more
        except GoneError as error:
            gone = error.why
            get_logger().warning("outbox.gone", consumer=work.shard.name, detail=gone)
        work.close()
        return Turn(work.handed_over, more and not gone, gone)

    def _try_again(self, work: Work) -> bool:
        """Hand over what is due, unless it has had more time than what is new.

        One retry may take as long as its consumer may. Those of a few people, who know how to
        make it slow, would leave next to no time for all others.
        """
        number, began = work.shard.shard, self._ticks()
        if self._owed.get(number, 0.0) > 0:
            return True
        more = self._hand_over_due(work)
        self._owed[number] = self._ticks() - began
        return more

    def _go_on(self, work: Work) -> bool:
        """Hand over what follows, while there is time; True where there is more at once."""
        number, began = work.shard.shard, self._ticks()
        while self._hand_over_page(work):
            if work.is_over():
                self._owed[number] -= self._ticks() - began
                return True
        self._owed[number] = 0.0
        return False

    def _hand_over_due(self, work: Work) -> bool:
        """Hand over the rows that are due, within half of the time.

        Returns:
            Whether there may be more: some were left, or stood behind those that are done.
        """
        rows, entries, people = self._queue.due(work.shard, self._clock(), DUE)
        for row in rows:
            if work.is_over(0.5):
                break
            if row.is_mark:
                self._go_on_behind(work, row)
                continue
            found = entries.get(row.sequence)
            if found is None:
                work.wait(structs.replace(row, state=State.DROPPED, due_at=None, error=PRUNED))
                continue
            step = step_again(row, found, people, self._clock(), self._settling)
            if step is None:
                work.forget(row)
            elif step.action is Action.SETTLE:
                work.wait(structs.replace(row, due_at=step.settles_at))
            else:
                if self._careful.get(work.shard.shard):
                    work.wait(failed(row, ENDED, self._clock(), 0.5, None))
                    work.keep()
                self._attempts.make(work, step, row)
        work.keep()
        return bool(rows)

    def _go_on_behind(self, work: Work, mark: Waiting) -> None:
        """Make rows of changes that a mark stands for, now that nothing is before them."""
        page, left = self._queue.behind(mark, work.place[0], MOST_HELD)
        rows, rest = behind_mark(mark, page, self._consumer.patterns, work.place, left)
        for row in rows:
            work.wait(row)
        if rest is None:
            work.forget(mark)
        else:
            work.wait(rest)

    def _hand_over_page(self, work: Work) -> bool:
        """Hand over what follows the place; True where there is more at once."""
        if not self._is_complete(work.shard):
            return False
        number, now = work.shard.shard, self._clock()
        careful = self._careful.get(number, 0)
        limit = 1 if careful else PAGE
        page = self._queue.page(work.shard, self._known, limit)
        away = page.failing >= MOST_FAILING and self._refused >= MOST_REFUSED
        tries_one = away and not work.handed_over
        if tries_one and now < self._tries_one_at.setdefault(number, now + FAILING_REST):
            self._rests[number] = self._known, now + FAILING_REST
            return False
        if careful and page.full:
            self._careful[number] = careful - 1
            work.note(page.found[0].entry.sequence or 0)
        plan = plan_page(
            page.found,
            self._consumer.name,
            self._consumer.patterns,
            page.people,
            page.waiting,
            now,
            marked=page.marked,
            after=work.shard.place,
            up_to=None if page.full else self._known,
            settling=self._settling,
        )
        for step in plan.steps:
            taken = work.handed_over
            self._take(work, step)
            if step.action is Action.HAND_OVER:
                self._refused = 0 if work.handed_over > taken else self._refused + 1
            if tries_one and step.action is Action.HAND_OVER and not work.handed_over:
                self._tries_one_at[number] = self._clock() + FAILING_REST
                return False
            if work.is_over():
                return True
        work.place = plan.place
        if plan.rests_until is not None:
            self._rests[number] = self._known, plan.rests_until
        work.keep()
        return page.full

    def _take(self, work: Work, step: Step) -> None:
        """Hand over one change of a page, or let it wait."""
        row = row_of(step, self._consumer.name)
        if step.change.kind is Kind.USER_DELETED:
            work.give_way(step.key)
        shard = work.shard
        if step.action is Action.LEAVE:
            pass
        elif step.action is Action.HAND_OVER and step.key not in work.held:
            if shard.tries >= DEATHS and shard.trying == step.change.sequence:
                self._attempts.fail(work, row, Failed(ENDED))
            else:
                self._attempts.make(work, step, row)
        else:
            young = step.action is Action.SETTLE and step.key not in work.held
            work.wait(structs.replace(row, due_at=step.settles_at) if young else row)
        work.place = step.place
        work.keep_now_and_then()
