"""The queue of one consumer: which change is handed over now, which waits, and until when. Pure.

Most changes are handed over in the order of the audit, and only a position moves. A change that
failed, that is too young, or that stands behind such a one of the same person becomes a row. Of a
person's waiting rows only the first one has a time at which it is due.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from usher.core.domain.events import EventName
from usher.core.domain.outbox import Change, Kind, changes_of, matches, with_person
from usher.core.domain.records import REPLAY, AuditEntry, Key, Status, User

SETTLING: Final = timedelta(seconds=20)
"""Identity may still roll back the transaction in which it sent a ``validate`` or ``signup``."""
DEATHS: Final = 3
"""An entry at which so many processes ended counts as failed."""
MOST_HELD: Final = 100
"""With so many rows of one person behind one that fails, later changes stay in the audit."""
WHOLE: Final = -1
"""The part of a place that is the end of its entry."""
Place = tuple[int, int]
"""A change's place in the audit: the entry, and the part of it."""
_STARTS: Final = frozenset((EventName.VALIDATE.value, EventName.SIGNUP.value))
OF_NO_RECORD: Final = frozenset((Kind.USER_DELETED, Kind.EVENT_DENIED))
"""Kinds that are told though there is no record."""


class State(StrEnum):
    """The state of a change that was not handed over at once."""

    WAITING = "waiting"
    DEAD = "dead"
    """It failed for three days."""
    DROPPED = "dropped"
    """Identity never had the account, or the audit no longer has the entry."""


class Waiting(Struct, frozen=True, kw_only=True):
    """A change that was not handed over at once.

    Attributes:
        id: its number; 0 before it has one.
        sequence, part: the entry of the audit, and the place among its changes.
        kind: empty: a mark, which stands for all that person's changes from this place on, up to
            the one that the consumer has come to. They are in the audit alone.
        due_at: when it is tried next; None: another one of the same person goes first, or it is
            not tried any more.
        error: why the last attempt failed, without personal data.
    """

    id: int = 0
    consumer: str
    sequence: int
    part: int
    instance_id: UUID
    user_id: UUID
    kind: str
    role: str
    change_id: str
    at: datetime
    state: State = State.WAITING
    tries: int = 0
    due_at: datetime | None = None
    error: str = ""
    failed_at: datetime | None = None

    @property
    def key(self) -> Key:
        """The key of the user."""
        return self.instance_id, self.user_id

    @property
    def is_mark(self) -> bool:
        """Whether it stands for later changes."""
        return not self.kind

    @property
    def is_waiting(self) -> bool:
        """Whether it is still to be handed over."""
        return self.state is State.WAITING


class Found(Struct, frozen=True):
    """An entry of the audit, with what caused it.

    Attributes:
        starts: a live ``validate`` or ``signup``.
        silent: played back, so nobody is told.
    """

    entry: AuditEntry
    starts: bool
    silent: bool


class Action(StrEnum):
    """The next act for a change."""

    HAND_OVER = "hand_over"
    SETTLE = "settle"
    """It is too young."""
    HOLD = "hold"
    """One of the same person, which is too young, goes first."""
    HOLD_BACK = "hold_back"
    """One of the same person, which failed or waits, goes first."""
    MARK = "mark"
    """As ``HOLD_BACK``, but with the mark as its row, for so many rows wait already."""
    LEAVE = "leave"
    """A mark stands for it."""


class Step(Struct, frozen=True):
    """One change of a page, with its person.

    Attributes:
        part: its place among the changes of its entry.
        settles_at: the time from which it is no longer too young; None: it never was.
    """

    change: Change
    part: int
    action: Action
    settles_at: datetime | None

    @property
    def key(self) -> Key:
        """The key of the user."""
        return self.change.instance_id, self.change.user.id

    @property
    def place(self) -> Place:
        """The place of the change."""
        return self.change.sequence, self.part

    @property
    def asks(self) -> bool:
        """Whether Identity must have the account."""
        return self.settles_at is not None


class Plan(Struct, frozen=True):
    """The work on a page.

    Attributes:
        steps: in order.
        place: up to which the consumer has come after all steps.
        rests_until: when there is more to do on this page; None: nothing is left of it.
    """

    steps: tuple[Step, ...]
    place: Place
    rests_until: datetime | None


def cause_of(entry: AuditEntry, event: str, origin: str, *, marked: bool) -> Found:
    """An entry with its cause.

    Args:
        event, origin: of the delivery that caused it; empty: none did, or it is gone.
        marked: the entry is an act that was played back.
    """
    starts = origin == "live" and event in _STARTS
    return Found(entry, starts, marked or origin == REPLAY)


def plan_page(
    page: Sequence[Found],
    consumer: str,
    patterns: AbstractSet[str],
    people: Mapping[Key, User],
    waiting: Mapping[Key, int],
    now: datetime,
    *,
    marked: AbstractSet[Key] = frozenset(),
    after: Place,
    up_to: int | None,
    settling: timedelta = SETTLING,
) -> Plan:
    """The plan of a page of the audit.

    Args:
        consumer: its name; it gets no changes of its own.
        people: the records of the page's users.
        waiting: users who have waiting rows of this consumer, and how many.
        marked: those with a mark among them.
        after: the place up to which the consumer has come.
        up_to: the last entry before which none is still to come, where the page is the last one;
            None: more entries follow. Then what is too young becomes rows, so that it keeps
            nobody behind it back.
        settling: after so long Identity rolls nothing back any more.
    """
    line = _Line(dict(waiting), set(marked), set())
    steps = []
    for found in page:
        for part, change in wanted(found, consumer, patterns):
            if not is_after(after, (change.sequence, part)):
                continue
            if step := _step(found, part, change, people, now, settling):
                steps.append(_placed(step, line))
    if up_to is None:
        return Plan(tuple(steps), (page[-1].entry.sequence or 0, WHOLE), None)
    ready = len(steps)
    while ready and steps[ready - 1].action in (Action.SETTLE, Action.HOLD):
        ready -= 1
    left = steps[ready:]
    young = [step.settles_at for step in left if step.settles_at and step.action is Action.SETTLE]
    if not young:  # at most some that are held behind rows, and become rows as well
        return Plan(tuple(steps), (up_to, WHOLE), None)
    return Plan(tuple(steps[:ready]), (left[0].change.sequence - 1, WHOLE), min(young))


def step_again(
    row: Waiting,
    found: Found,
    people: Mapping[Key, User],
    now: datetime,
    settling: timedelta = SETTLING,
) -> Step | None:
    """The step for a row that is due; None: the change is no longer to be told.

    That is so once the person is deleted, when ``user.deleted`` takes the place of all others.
    """
    for part, change in enumerate(changes_of(found.entry)):
        if change.id == row.change_id:
            return _step(found, part, change, people, now, settling)
    return None


def row_of(step: Step, consumer: str) -> Waiting:
    """The row of a change that waits, or the mark; it is due at no time yet."""
    row = _row(step.change, step.part, consumer)
    if step.action is Action.MARK:
        return replace(row, kind="", role="", change_id="")
    return row


def behind_mark(
    mark: Waiting,
    page: Sequence[Found],
    patterns: AbstractSet[str],
    place: Place,
    left: int | None,
) -> tuple[list[Waiting], Waiting | None]:
    """The rows for changes that a mark stands for, and the mark for the rest of them.

    Args:
        page: the person's first entries from the mark on.
        place: the place up to which the consumer has come.
        left: the person's next entry after the page; None: there is none.
    """
    rows = [
        _row(change, part, mark.consumer)
        for found in page
        for part, change in wanted(found, mark.consumer, patterns)
        if (mark.sequence, mark.part) <= (change.sequence, part)
        and not is_after(place, (change.sequence, part))
    ]
    return rows, None if left is None else replace(mark, sequence=left, part=0)


def is_after(place: Place, change: Place) -> bool:
    """Whether a change is after the place that a consumer has come to."""
    if change[0] == place[0]:
        return place[1] != WHOLE and change[1] > place[1]
    return change[0] > place[0]


def _row(change: Change, part: int, consumer: str) -> Waiting:
    return Waiting(
        consumer=consumer,
        sequence=change.sequence,
        part=part,
        instance_id=change.instance_id,
        user_id=change.user.id,
        kind=change.kind.value,
        role=change.role,
        change_id=change.id,
        at=change.at,
    )


def wanted(found: Found, consumer: str, patterns: AbstractSet[str]) -> Sequence[tuple[int, Change]]:
    """The changes of an entry that a consumer is to get, each with its part."""
    if found.silent or found.entry.actor == consumer:
        return ()
    return [
        (part, change)
        for part, change in enumerate(changes_of(found.entry))
        if matches(patterns, change.kind)
    ]


class _Line(Struct):
    """The people of whom something goes first.

    Attributes:
        rows: how many rows of them wait.
        marked: those with a mark.
        held: those of whom something on this page is too young.
    """

    rows: dict[Key, int]
    marked: set[Key]
    held: set[Key]


def _placed(step: Step, line: _Line) -> Step:
    """The step behind those of the same person."""
    key = step.key
    if step.change.kind is Kind.USER_DELETED:  # it takes the place of all that waits
        line.rows.pop(key, None)
        line.marked.discard(key)
        line.held.discard(key)
    elif key in line.marked:
        return replace(step, action=Action.LEAVE)
    elif key in line.rows:
        line.rows[key] += 1
        if line.rows[key] <= MOST_HELD:
            return replace(step, action=Action.HOLD_BACK)
        line.marked.add(key)
        return replace(step, action=Action.MARK)
    elif key in line.held:
        return replace(step, action=Action.HOLD)
    elif step.action is Action.SETTLE:
        line.held.add(key)
    return step


def _step(
    found: Found,
    part: int,
    change: Change,
    people: Mapping[Key, User],
    now: datetime,
    settling: timedelta,
) -> Step | None:
    """The step for one change by itself; None: it is not to be told."""
    key = change.instance_id, change.user.id
    record = people.get(key)
    without = change.kind in OF_NO_RECORD
    gone = record is None or record.status is Status.DELETED
    if gone and not without:
        return None
    change = with_person(change, record, now)
    settles_at = change.at + settling if found.starts and not without else None
    young = settles_at is not None and settles_at > now
    return Step(change, part, Action.SETTLE if young else Action.HAND_OVER, settles_at)
