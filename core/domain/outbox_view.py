"""The outbox as people see it: how consumers stand, and what an event or a person led to. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from usher.core.domain.outbox import Change, changes_of
from usher.core.domain.outbox_queue import (
    OF_NO_RECORD,
    WHOLE,
    Found,
    Place,
    State,
    Waiting,
    is_after,
    wanted,
)
from usher.core.domain.outbox_shards import shard_of

TO_COME: Final = "to_come"
"""The state of a change that a consumer has not come to."""

AT_WORK: Final = timedelta(minutes=5)
"""A consumer counts as one that a server works for, for so long after it was seen to."""


class Filters(Struct, frozen=True):
    """Filters of a list of changes; None or empty: no filter."""

    state: State | None = None
    consumer: str = ""
    user_id: UUID | None = None


class Standing(Struct, frozen=True):
    """How things stand with one consumer.

    Attributes:
        behind: entries of the audit that it has not come to; not all are counted where it is far
            behind.
        waiting, dead: its changes that wait, and its dead letters.
        oldest_at: the time of the oldest change that waits, here or in the audit.
        seen_at: when a server worked for it last.
        paused: an administrator, or a receiver that is gone, wants nothing handed over.
    """

    name: str
    behind: int
    waiting: int
    dead: int
    oldest_at: datetime | None
    seen_at: datetime
    paused: bool = False


class Known(Struct, frozen=True):
    """A consumer, as far as is on record.

    Attributes:
        patterns: the kinds that it is for, as it said last.
        places: how far it has come, by shard.
    """

    name: str
    patterns: AbstractSet[str]
    places: Mapping[int, Place]

    def up_to(self, mark: Waiting) -> Known:
        """It, as it stands with the person of a mark: not further than that."""
        before = (mark.sequence - 1, WHOLE) if mark.part == 0 else (mark.sequence, mark.part - 1)
        return replace(self, places={**self.places, shard_of(mark.user_id): before})


class Outstanding(Struct, frozen=True):
    """A consumer that does not have a change.

    Attributes:
        state: that of its row, or ``TO_COME``.
        row: None: it has not come to the change.
    """

    consumer: str
    state: str
    row: Waiting | None = None


class Led(Struct, frozen=True):
    """A change that an event or an act led to.

    Attributes:
        told: it is handed over to consumers; nothing that was played back is.
        outstanding: the consumers that do not have it, by name.
    """

    change: Change
    told: bool
    outstanding: tuple[Outstanding, ...]


class Seen(Struct, frozen=True):
    """One change of the outbox, with what led to it.

    Attributes:
        change: None: the audit no longer has its entry.
        behind: the number of the change that goes first; None: none does.
    """

    row: Waiting
    change: Change | None
    behind: int | None


def led_to(
    found: Found, consumers: Sequence[Known], rows: Sequence[Waiting], *, gone: bool
) -> list[Led]:
    """The changes of an entry of the audit, in order, each with those who do not have it.

    Args:
        rows: those of this entry.
        gone: the person is deleted, so that nothing but the deletion is still told.
    """
    open_ = {change.id: dict[str, Outstanding]() for change in changes_of(found.entry)}
    for consumer in consumers:
        place = consumer.places.get(shard_of(found.entry.user_id))
        for part, change in wanted(found, consumer.name, consumer.patterns):
            told = not gone or change.kind in OF_NO_RECORD
            if place is not None and told and is_after(place, (change.sequence, part)):
                open_[change.id][consumer.name] = Outstanding(consumer.name, TO_COME)
    for row in rows:
        if row.change_id in open_:
            open_[row.change_id][row.consumer] = Outstanding(row.consumer, row.state.value, row)
    return [
        Led(change, not found.silent, tuple(each for _, each in sorted(open_[change.id].items())))
        for change in changes_of(found.entry)
    ]


def standing_document(standing: Standing) -> dict[str, Any]:
    """How things stand with one consumer."""
    return {
        "name": standing.name,
        "behind": standing.behind,
        "waiting": standing.waiting,
        "dead": standing.dead,
        "oldest_at": standing.oldest_at,
        "seen_at": standing.seen_at,
        "paused": standing.paused,
    }


def waiting_document(row: Waiting) -> dict[str, Any]:
    """A change that was not handed over at once."""
    return {
        "number": row.id,
        "consumer": row.consumer,
        "state": row.state.value,
        "kind": row.kind,
        "role": row.role or None,
        "instance_id": row.instance_id,
        "user_id": row.user_id,
        "change_id": row.change_id,
        "sequence": row.sequence,
        "at": row.at,
        "tries": row.tries,
        "due_at": row.due_at,
        "error": row.error or None,
        "failed_at": row.failed_at,
    }


def seen_document(seen: Seen) -> dict[str, Any]:
    """A change that was not handed over at once, with what led to it."""
    change = seen.change
    return {
        **waiting_document(seen.row),
        "behind": seen.behind,
        "actor": change.actor if change else None,
        "reason": change.reason or None if change else None,
        "delivery_id": change.delivery_id if change else None,
    }


def led_document(led: Led) -> dict[str, Any]:
    """A change that an event or an act led to."""
    change = led.change
    return {
        "id": change.id,
        "kind": change.kind.value,
        "role": change.role or None,
        "at": change.at,
        "sequence": change.sequence,
        "actor": change.actor,
        "delivery_id": change.delivery_id,
        "told": led.told,
        "outstanding": [_outstanding_document(each) for each in led.outstanding],
    }


def _outstanding_document(each: Outstanding) -> dict[str, Any]:
    row = each.row
    return {
        "consumer": each.consumer,
        "state": each.state,
        "number": row.id if row else None,
        "tries": row.tries if row else 0,
        "due_at": row.due_at if row else None,
        "error": row.error or None if row else None,
    }
