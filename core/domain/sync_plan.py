"""What a synchronisation was asked to do, and how far it has come. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Final
from uuid import UUID

MOST_REMOVED_PERCENT: Final = 5


class Phase(StrEnum):
    """One after the other; the last means that the run is complete."""

    ACCOUNTS = "accounts"
    RECORDS = "records"
    REMOVALS = "removals"
    DONE = "done"


class Mark(IntEnum):
    """What a run noted about a user."""

    SEEN = 1
    """At Identity."""
    ABSENT = 2
    """Here, and not at Identity."""
    REMAINS = 3
    """Deleted here, and still at Identity."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to mend: nothing, here (pull), there (push), and whether removals are carried over."""

    pull: bool = False
    push: bool = False
    prune: bool = False

    @property
    def name(self) -> str:
        """``report``, ``pull``, ``push`` or ``both``, with ``+prune`` where it is so."""
        names = {(True, True): "both", (True, False): "pull", (False, True): "push"}
        return names.get((self.pull, self.push), "report") + ("+prune" if self.prune else "")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come; kept as JSON with every step.

    Attributes:
        page: of Identity's accounts, to be read next.
        anchors: the last ids of the pages before it, the nearest last.
        steps_back: how often running the pages were seen to have moved.
        place: the id after which the walk over the records (or the removals) goes on.
        accounts: how many accounts were compared; ``total``: how many Identity says there are.
        records: how many records were looked for there.
        found, mended: how many differences, by kind.
        refused: why removals were not made; empty: they were, or none was asked for.
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
        """With so many more."""
        return replace(self, found=_sum(self.found, found), mended=_sum(self.mended, mended))

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"anchors": list(self.anchors)}

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Progress:
        """Out of JSON."""
        values = dict(document)
        values["phase"] = Phase(values["phase"])
        values["anchors"] = tuple(values["anchors"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Run:
    """One run under way.

    Attributes:
        lease: who is at it; whatever is written under another lease is refused.
        resumed: it was begun earlier, and interrupted.
    """

    id: UUID
    instance_id: UUID
    lease: UUID
    started_at: datetime
    progress: Progress
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class Completed:
    """The last complete run: when, what it was asked to do, and the differences that it left."""

    at: datetime
    plan: str
    left: Mapping[str, int]


def too_many(count: int, total: int) -> bool:
    """Whether so many removals of so many are more than anybody means without saying so."""
    return count * 100 > total * MOST_REMOVED_PERCENT


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {kind: one.get(kind, 0) + other.get(kind, 0) for kind in sorted({*one, *other})}
