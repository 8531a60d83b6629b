"""A dispatcher's work on one shard: what was done since it was kept last."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from msgspec import structs

from usher.core.domain.outbox_queue import Place, Waiting
from usher.core.domain.outbox_shards import lasts, lease_of
from usher.core.domain.records import Key
from usher.core.outbox.consumer import Consumer
from usher.core.store.database import Transaction
from usher.core.store.outbox import Moves, Queue
from usher.core.store.outbox_shards import Shard

TURN_SECONDS: Final = 2.0
"""A turn begins no hand-over after this time, so that other shards and servers have theirs."""
KEEP_SECONDS: Final = 0.2
"""Work that a kill makes us do again, at most."""


class Work:
    """The work of one turn.

    Args:
        shard: as it was claimed.
        clock: gives the current time, UTC.
        ticks: seconds of a clock that only goes forward.

    Attributes:
        place: the change up to which everything is done, or stands in ``moves``.
        held: users of whom a row waits.
    """

    def __init__(
        self,
        queue: Queue,
        consumer: Consumer,
        shard: Shard,
        clock: Callable[[], datetime],
        ticks: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._seconds = consumer.seconds
        self._clock = clock
        self._ticks = ticks
        self._began = self._kept = ticks()
        self.shard = shard
        self.place: Place = shard.place
        self.moves = Moves()
        self.held: set[Key] = set()
        self.handed_over = 0

    def is_over(self, share: float = 1.0) -> bool:
        """Whether this share of the turn's time has passed."""
        return self._ticks() - self._began >= TURN_SECONDS * share

    def done(self, row: Waiting) -> None:
        """The consumer has the change."""
        self.handed_over += 1
        self.forget(row)

    def forget(self, row: Waiting) -> None:
        """Nothing is left to do for a change."""
        if row.id:
            self.moves.removed.append(row)

    def remember(self, row: Waiting) -> None:
        """Take ``forget`` back."""
        self.moves.removed = [one for one in self.moves.removed if one.id != row.id]

    def wait(self, row: Waiting) -> None:
        """Keep a change as a row, or a row as it is now."""
        (self.moves.changed if row.id else self.moves.added).append(row)
        if row.is_waiting:
            self.held.add(row.key)

    def give_way(self, key: Key) -> None:
        """Drop all that waits of a user, for ``user.deleted`` takes its place."""
        self.held.discard(key)
        self.moves.replaced.add(key)
        self.moves.added = [row for row in self.moves.added if row.key != key]

    def note(self, sequence: int) -> None:
        """Keep that an entry is about to be handed over, in case the process does not survive it.

        All that was done before is kept as well.
        """
        tries = self.shard.tries if self.shard.trying == sequence else 1
        self._keep(trying=sequence, tries=max(1, tries))

    def renew(self) -> None:
        """See to it that the lease lasts longer than the hand-over that begins now."""
        if not lasts(self.shard.lease_until, self._clock(), self._seconds):
            self._keep()

    def keep_now_and_then(self) -> None:
        """Keep what was done, unless that was done a moment ago."""
        if self._ticks() - self._kept >= KEEP_SECONDS:
            self._keep()

    def keep(self, write: Callable[[Transaction], object] | None = None) -> None:
        """Keep what was done, if anything was.

        Args:
            write: what a handler writes, in the same transaction.

        Raises:
            LeaseLostError: another server works on the shard by now; nothing is kept.
        """
        if write or self.place != self.shard.place or self.moves != Moves():
            self._keep(write)

    def close(self) -> None:
        """Keep what was done, and give the lease back."""
        self._keep(lease=None, trying=0, tries=0)

    def _keep(self, write: Callable[[Transaction], object] | None = None, **values: object) -> None:
        now = self._clock()
        until = now + lease_of(self._seconds)
        position, part = self.place
        moved = {"position": position, "part": part, "lease_until": until, "seen_at": now}
        after = structs.replace(self.shard, **moved | values)
        self._queue.keep(self.shard, after, self.moves, write)
        self.shard, self.moves, self._kept = after, Moves(), self._ticks()
