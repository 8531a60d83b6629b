"""The plan and the progress of a sync. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Final
from uuid import UUID

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


@dataclass(frozen=True, slots=True)
class Plan:
    """The sides to mend: here (pull), at Identity (push), and removals too (prune)."""

    pull: bool = False
    push: bool = False
    prune: bool = False

    @property
    def name(self) -> str:
        """``report``, ``pull``, ``push`` or ``both``; with removals, ``+prune`` after it."""
        names = {(True, True): "both", (True, False): "pull", (False, True): "push"}
        return names.get((self.pull, self.push), "report") + ("+prune" if self.prune else "")


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run, kept as JSON with every step.

    Attributes:
        page: the next page of Identity's accounts to read.
        anchors: the last ids of the pages before it, the nearest last.
        steps_back: times in a row that the pages were seen to have moved.
        place: the id after which the walk over the records (or the removals) goes on.
        accounts: the number of accounts compared.
        total: the number of accounts by Identity's own count.
        records: the number of records looked for at Identity.
        found, mended: counts of differences, by kind.
        refused: the reason why removals were not made; empty: made, or not asked for.
    """

    phase: Phase = Phase.ACCOUNTS
    page: int = 1
    anchors: tuple[str, ...] = ()
    steps_back: int = 0
    place: str = ""
    accounts: int = 0
    total: int = 0
    records: int = 0
    found: Mapping[str, int] = field(default_factory=dict)
    mended: Mapping[str, int] = field(default_factory=dict)
    refused: str = ""

    @property
    def left(self) -> dict[str, int]:
        """Differences that were not mended, by kind."""
        counts = {kind: self.found[kind] - self.mended.get(kind, 0) for kind in self.found}
        return {kind: count for kind, count in sorted(counts.items()) if count > 0}

    def counting(self, found: Mapping[str, int], mended: Mapping[str, int]) -> Progress:
        """The progress with these counts added."""
        return replace(self, found=_sum(self.found, found), mended=_sum(self.mended, mended))

    def document(self) -> dict[str, Any]:
        """The progress as JSON."""
        return asdict(self) | {"anchors": list(self.anchors)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Progress:
        """Read back what ``document`` wrote."""
        values = dict(document)
        values["phase"] = Phase(values["phase"])
        values["anchors"] = tuple(values["anchors"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Run:
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


@dataclass(frozen=True, slots=True)
class Completed:
    """The last complete run: its end, the name of its plan, and the differences left, by kind."""

    at: datetime
    plan: str
    left: Mapping[str, int]


def too_many(count: int, total: int) -> bool:
    """Whether ``count`` removals of ``total`` are over ``MOST_REMOVED_PERCENT``."""
    return count * 100 > total * MOST_REMOVED_PERCENT


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in sorted({*one, *other})}
