"""The plan and the progress of a sync. Pure values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Final
from uuid import UUID

from msgspec import Struct, field, to_builtins
from msgspec.structs import replace

from usher.core.domain.sync_place import Place

MOST_NAMED: Final = 1_000
"""Unreadable accounts that a run names; of others it keeps the number alone."""
UNREADABLE: Final = "unreadable"
"""Their kind among the differences."""
_NAMED: Final = ("unreadable", "odd_roles")
MOST_REMOVED_PERCENT: Final = 5
"""Of one side's users; a sync removes more only when told to (docs/sync.md)."""


class Phase(StrEnum):
    """The phases of a run, in their order; the last means that it is complete."""

    ACCOUNTS = "accounts"
    RECORDS = "records"
    REMOVALS = "removals"
    DONE = "done"


class Mark(IntEnum):
    """A run's note on a user."""

    SEEN = 1
    """At Identity."""
    ABSENT = 2
    """Here, and not at Identity."""
    REMAINS = 3
    """Deleted here, and still at Identity."""


class Plan(Struct, frozen=True, gc=False):
    """The sides to mend: here (pull), at Identity (push), and removals too (prune)."""

    pull: bool = False
    push: bool = False
    prune: bool = False

    @property
    def name(self) -> str:
        """``report``, ``pull``, ``push`` or ``both``; with removals, ``+prune`` after it."""
        names = {(True, True): "both", (True, False): "pull", (False, True): "push"}
        return names.get((self.pull, self.push), "report") + ("+prune" if self.prune else "")


class Trouble(StrEnum):
    """The trouble with an account that cannot be read."""

    TOO_LARGE = "too_large"
    FORM = "form"
    NO_ANSWER = "no_answer"
    """Identity answers, but never when it is asked for this account."""
    ROLES = "roles"
    """The account is read, but for its roles or some of them."""


class Unreadable(Struct, frozen=True, gc=False):
    """An account at Identity that could not be read.

    Attributes:
        id: empty where it is not known.
        number: its number in Identity's list, oldest first, from 1; 0: it was asked for by id.
        why: in words; no personal data.
    """

    id: str
    number: int
    trouble: Trouble
    why: str


class Progress(Struct, frozen=True, gc=False):
    """The progress of a run, kept as JSON with every step.

    Attributes:
        at: the next page of Identity's accounts to read.
        place: the id after which the walk over the records (or the removals) goes on.
        accounts: the number of accounts compared.
        total: the number of accounts by Identity's own count.
        records: the number of records looked for at Identity.
        found, mended: counts of differences, by kind.
        refused: the reason why removals were not made; empty: made, or not asked for.
        unreadable: accounts that could not be read, ``MOST_NAMED`` at most; ``found`` counts all.
        odd_roles: accounts whose roles cannot all be read, likewise.
    """

    phase: Phase = Phase.ACCOUNTS
    at: Place = field(default_factory=Place)
    place: str = ""
    accounts: int = 0
    total: int = 0
    records: int = 0
    found: Mapping[str, int] = field(default_factory=dict)
    mended: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""
    unreadable: tuple[Unreadable, ...] = ()
    odd_roles: tuple[Unreadable, ...] = ()

    @property
    def left(self) -> dict[str, int]:
        """Differences that were not mended, by kind."""
        counts = {kind: self.found[kind] - self.mended.get(kind, 0) for kind in self.found}
        return {kind: count for kind, count in sorted(counts.items()) if count > 0}

    def counting(self, found: Mapping[str, int], mended: Mapping[str, int]) -> Progress:
        """The progress with these counts added."""
        return replace(self, found=_sum(self.found, found), mended=_sum(self.mended, mended))

    def naming(self, accounts: Iterable[Unreadable]) -> Progress:
        """The progress with these accounts named, unless the same place in the list is already."""
        numbers = {each.number for each in self.unreadable if not each.id}
        new = [each for each in accounts if each.id or each.number not in numbers]
        named = (*self.unreadable, *new)[:MOST_NAMED]
        counted = self.counting({UNREADABLE: len(new)} if new else {}, {})
        return replace(counted, unreadable=named)

    def naming_asked(self, account: Unreadable) -> Progress:
        """The progress with an account named that was asked for by its id.

        The list had shown it, so it is one of those that are named by their number alone.
        """
        for at, each in enumerate(self.unreadable):
            if not each.id:
                found = replace(account, number=each.number)
                named = (*self.unreadable[:at], found, *self.unreadable[at + 1 :])
                return replace(self, unreadable=named)
        return self.naming([account])

    def back(self) -> Progress:
        """The progress one large page earlier; accounts without an id get their numbers anew."""
        at = self.at.back()
        kept = tuple(each for each in self.unreadable if each.id or each.number <= at.offset)
        dropped = len(self.unreadable) - len(kept)
        less = self.counting({UNREADABLE: -dropped} if dropped else {}, {})
        return replace(less, at=at, unreadable=kept)

    def document(self) -> dict[str, Any]:
        """The progress as JSON."""
        written: dict[str, Any] = to_builtins(self)
        return written

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Progress:
        """Read back what ``document`` wrote, here or in an earlier version."""
        values = {name: document[name] for name in cls.__struct_fields__ if name in document}
        values["phase"] = Phase(values["phase"])
        # Runs counted pages of 200, before they kept a place.
        values["at"] = Place(**document.get("at", {"offset": 200 * (document.get("page", 1) - 1)}))
        for name in _NAMED:
            values[name] = tuple(
                Unreadable(**each | {"trouble": Trouble(each["trouble"])})
                for each in document.get(name, ())
            )
        return cls(**values)


class Run(Struct, frozen=True, gc=False):
    """One run under way.

    Attributes:
        lease: of the process at work; writes under another lease are refused.
        resumed: the run was begun earlier and interrupted.
    """

    id: UUID
    instance_id: UUID
    lease: UUID
    started_at: datetime
    progress: Progress
    resumed: bool = False


class Completed(Struct, frozen=True, gc=False):
    """The last complete run: its end, the name of its plan, and the differences left, by kind."""

    at: datetime
    plan: str
    left: Mapping[str, int]


def too_many(count: int, total: int) -> bool:
    """Whether ``count`` removals of ``total`` are over ``MOST_REMOVED_PERCENT``."""
    return count * 100 > total * MOST_REMOVED_PERCENT


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in sorted({*one, *other})}
