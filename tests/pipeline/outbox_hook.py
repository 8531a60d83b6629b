"""A world with one consumer that does as it is told, for tests of dispatchers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

from msgspec import Struct

from tests.pipeline.outbox_support import NAME, Impatient, World
from tests.support import Clock
from usher.core.domain.outbox import Change
from usher.core.domain.outbox_queue import State
from usher.core.domain.outbox_view import Filters
from usher.core.outbox.consumer import Done, Result
from usher.core.outbox.dispatcher import Dispatcher, Turn
from usher.core.store.database import Database
from usher.core.store.outbox import Queue

MANY = 20


class Hook(Struct):
    """A consumer that does as it is told, and notes what it gets."""

    answer: Callable[[Change], Result] = lambda _: Done()
    got: list[Change] = []
    name: str = NAME
    patterns: frozenset[str] = frozenset({"*"})
    seconds: float = 5.0

    def hand_over(self, change: Change) -> Result:
        """Note it, and answer."""
        self.got.append(change)
        return self.answer(change)

    @property
    def kinds(self) -> list[str]:
        """The kinds that came."""
        return [change.kind.value for change in self.got]


class Site:
    """A world with one consumer."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.world = World(database, clock)
        self.hook = Hook()
        self.main = self.dispatcher()
        self.main.turn()

    def dispatcher(self, **options: Any) -> Dispatcher:
        """A dispatcher of another process."""
        queue, complete = Queue(self.database), Impatient(self.database)
        return Dispatcher(queue, complete, self.hook, self.clock, uuid4(), **options)

    def is_for(self, *kinds: str) -> None:
        """Start a server whose consumer is for these kinds."""
        self.hook.patterns = frozenset(kinds)
        self.clock.advance(seconds=1)
        self.main = self.dispatcher()

    def change(self, *people: UUID, **how: Any) -> None:
        """Change people, each in a transaction."""
        for who in people:
            work = self.world.begin()
            self.world.do(work, who, **how)
            self.world.end(work)

    def work(self, by: Dispatcher | None = None) -> Turn:
        """Work until there is nothing more to do at once."""
        for _ in range(MANY):
            turn = (by or self.main).turn()
            if not (turn.more or turn.handed_over):
                break
        return turn

    def rows(self, state: State | None = None) -> list[Any]:
        """What was not handed over at once, the oldest first."""
        return list(self.world.outbox.page(Filters(state)).items[::-1])
