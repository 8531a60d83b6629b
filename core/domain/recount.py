"""Codes and quotas of the past, counted as if a policy had been in force all along. Pure.

A trial decides person by person, but people compete for codes and places in order of arrival. So
the events at which somebody asks to enter are counted first, in that order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from usher.core.domain.book import ASKING, Book
from usher.core.domain.codes import Code
from usher.core.domain.counting import Counting, Counts
from usher.core.domain.decide import uses_of
from usher.core.domain.events import Event, EventName
from usher.core.domain.policy import CountingPolicy, Policy
from usher.core.domain.records import Key

DatedEvent = tuple[Event, datetime]
"""An event with its time of receipt, UTC."""
PastCounts = Mapping[UUID, Mapping[str, Counts]]
"""By user and delivery. An event that is missing has ``NOTHING``."""
UNCOUNTED: Final[PastCounts] = {}


def recount(
    arrivals: Iterable[DatedEvent], codes: Iterable[Code], policies: Sequence[CountingPolicy]
) -> list[PastCounts]:
    """The counts of past events for each policy.

    Codes begin unused, and are revoked when they were. Places are taken as live, by the window of
    the account's creation.

    Args:
        arrivals: events in order of receipt; not read where no policy counts. Those at which
            nobody asks to enter make no difference.
        codes: all on record.
    """
    ledgers = [_Ledger(each, each.counting) for each in policies if each.counting is not None]
    if not ledgers:
        return [UNCOUNTED] * len(policies)
    unused = [replace(code, used=0) for code in codes]
    for ledger in ledgers:
        ledger.begin(unused)
    for event, moment in arrivals:
        if event.name in ASKING:
            for ledger in ledgers:
                ledger.take(event, moment)
    found = iter(ledgers)
    return [UNCOUNTED if each.counting is None else next(found).counts for each in policies]


class _Ledger:
    """The past as one policy counts it."""

    def __init__(self, policy: Policy, counting: Counting) -> None:
        self._policy = policy
        self._book = Book(counting)
        self._unused: dict[UUID, Code] = {}
        self._revocations: list[tuple[datetime, str]] = []
        self._entered: set[Key] = set()
        self._placed: set[Key] = set()
        self.counts: dict[UUID, dict[str, Counts]] = {}

    def begin(self, codes: Iterable[Code]) -> None:
        """Put down the codes, the first to be revoked last in the list of revocations."""
        for code in codes:
            self._unused[code.id] = code
            self._book.codes[code.digest] = replace(code, revoked_at=None)
            if code.revoked_at is not None:
                self._revocations.append((code.revoked_at, code.digest))
        self._revocations.sort(reverse=True)

    def take(self, event: Event, moment: datetime) -> None:
        """Count one event."""
        book = self._book
        while self._revocations and self._revocations[-1][0] <= moment:
            revoked_at, digest = self._revocations.pop()
            book.codes[digest] = replace(book.codes[digest], revoked_at=revoked_at)
        key = event.key
        if event.name is EventName.VALIDATE and key in self._entered:
            return  # this decides nothing any more
        counts = book.counts(event)
        if key in self._placed:
            counts = replace(counts, place=None, full=False)
        uses = uses_of(event, self._policy, moment, counts)
        if uses is not None:
            book.use(event, uses)
            if event.name is EventName.SIGNUP:
                self._entered.add(key)
            if uses.place is not None:
                self._placed.add(key)
        if counts.state is not None or counts.full:
            code = counts.code and self._unused[counts.code.id]  # alike for every policy
            mine = self.counts.setdefault(event.user.id, {})
            mine[event.delivery_id] = Counts(code, counts.state, None, counts.full)
