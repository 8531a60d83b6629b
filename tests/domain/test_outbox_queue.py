"""The queue of a consumer: what is handed over now, and what waits until when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support import NOON
from usher.core.domain.outbox import Kind, changes_of
from usher.core.domain.outbox_attempts import (
    FIRST_BACK_OFF,
    GIVES_UP_AFTER,
    LONGEST_BACK_OFF,
    LOOKS,
    MAX_TRIES,
    back_off,
    failed,
    without_account,
)
from usher.core.domain.outbox_queue import (
    MOST_HELD,
    SETTLING,
    WHOLE,
    Action,
    Found,
    Plan,
    State,
    Waiting,
    behind_mark,
    cause_of,
    plan_page,
    row_of,
    step_again,
)
from usher.core.domain.outbox_shards import (
    GIVES_WAY_AFTER,
    MARGIN,
    RENEWED_AFTER,
    SHARDS,
    counts,
    lasts,
    lease_of,
    shard_of,
    users_of,
)
from usher.core.domain.records import AuditEntry, Key, Status, User

INSTANCE = UUID(int=7)
ADA, BEA, CY = (UUID(int=number) for number in (1, 2, 3))
NAME = "handler:site.hooks.told"
ALL = frozenset({"*"})
LATER = NOON + timedelta(hours=1)
HAND_OVER, SETTLE, HOLD, HOLD_BACK, MARK, LEAVE = Action


def user(user_id: UUID, status: Status = Status.ACTIVE) -> User:
    """A record."""
    times: dict[str, Any] = {"confirmed_at": NOON}
    if status is Status.DELETED:
        times["deleted_at"] = NOON
    return User(INSTANCE, user_id, NOON, NOON, f"{user_id.int}@example.com", **times)


def entry(sequence: int, user_id: UUID = ADA, **changed: Any) -> AuditEntry:
    """A change of the profile, or whatever else is said."""
    values: dict[str, Any] = {
        "action": "user.changed",
        "actor": "user:x",
        "before": {"profile": {}},
        "after": {"profile": {"n": 1}},
    }
    return AuditEntry(
        instance_id=INSTANCE, user_id=user_id, at=NOON, sequence=sequence, **(values | changed)
    )


def acts(sequence: int, user_id: UUID = ADA, **changed: Any) -> Found:
    """An act of a person."""
    return Found(entry(sequence, user_id, **changed), starts=False, silent=False)


def starts(sequence: int, user_id: UUID = ADA, **changed: Any) -> Found:
    """A live signup, with two changes."""
    return Found(
        entry(sequence, user_id, before=None, after={"status": "active"}, **changed),
        starts=True,
        silent=False,
    )


def people(*users: User) -> Mapping[Key, User]:
    """Records by key."""
    return {(one.instance_id, one.id): one for one in users}


def plan(
    page: Sequence[Found],
    *,
    patterns: frozenset[str] = ALL,
    waiting: Mapping[UUID, int] = {},
    marked: Sequence[UUID] = (),
    known: Mapping[Key, User] = people(user(ADA), user(BEA), user(CY)),
    age: timedelta = timedelta(),
    after: tuple[int, int] = (0, WHOLE),
    up_to: int | None = 100,
) -> Plan:
    """The plan of a page that is read so long after everything in it happened."""
    rows = {(INSTANCE, one): number for one, number in waiting.items()}
    return plan_page(
        page,
        NAME,
        patterns,
        known,
        rows,
        NOON + age,
        marked=frozenset((INSTANCE, one) for one in marked),
        after=after,
        up_to=up_to,
    )


def told(found: Plan) -> list[tuple[int, int, Action]]:
    """The place and the act of each step."""
    return [(*step.place, step.action) for step in found.steps]


OLD = timedelta(hours=1)


@pytest.mark.parametrize(
    ("page", "given_", "steps", "place"),
    [
        ([], {}, [], (100, WHOLE)),
        ([acts(5)], {}, [(5, 0, HAND_OVER)], (100, WHOLE)),
        ([acts(5)], {"up_to": None}, [(5, 0, HAND_OVER)], (5, WHOLE)),
        ([acts(5)], {"patterns": frozenset({"user.deleted"})}, [], (100, WHOLE)),
        ([acts(5, actor=NAME)], {}, [], (100, WHOLE)),
        ([replace(acts(5), silent=True)], {}, [], (100, WHOLE)),
        # behind what waits already
        ([acts(5), acts(6, BEA)], {"waiting": {ADA: 1}},
         [(5, 0, HOLD_BACK), (6, 0, HAND_OVER)], None),
        # with so many rows a mark stands for the rest
        ([acts(5), acts(6), acts(7, BEA), acts(8)], {"waiting": {ADA: MOST_HELD - 1}},
         [(5, 0, HOLD_BACK), (6, 0, MARK), (7, 0, HAND_OVER), (8, 0, LEAVE)], None),
        ([acts(5), acts(6, BEA)], {"waiting": {ADA: 3, BEA: 1}, "marked": [ADA]},
         [(5, 0, LEAVE), (6, 0, HOLD_BACK)], None),
        # too young: stays in the audit at the end of the page, and is a row before others
        ([starts(5)], {}, [], (4, WHOLE)),
        ([acts(4, BEA), starts(5), acts(6)], {}, [(4, 0, HAND_OVER)], (4, WHOLE)),
        (
            [starts(5), acts(6), acts(7, BEA)],
            {},
            [(5, 0, SETTLE), (5, 1, HOLD), (6, 0, HOLD), (7, 0, HAND_OVER)],
            None,
        ),
        # behind a young one that is a row, a change of the same person is one, too
        (
            [starts(5), acts(6, BEA), acts(7)],
            {},
            [(5, 0, SETTLE), (5, 1, HOLD), (6, 0, HAND_OVER), (7, 0, HOLD)],
            None,
        ),
        ([starts(5)], {"up_to": None}, [(5, 0, SETTLE), (5, 1, HOLD)], (5, WHOLE)),
        ([starts(5)], {"age": SETTLING}, [(5, 0, HAND_OVER), (5, 1, HAND_OVER)], None),
        # half an entry was done
        ([starts(5), acts(6)], {"age": OLD, "after": (5, 0)},
         [(5, 1, HAND_OVER), (6, 0, HAND_OVER)], None),
        # a deleted person's changes give way to the deletion
        (
            [acts(5), acts(6, after={"status": "deleted"})],
            {
                "known": people(user(ADA, Status.DELETED)),
                "waiting": {ADA: MOST_HELD},
                "marked": [ADA],
            },
            [(6, 0, HAND_OVER)],
            None,
        ),
        ([acts(5)], {"known": {}}, [], None),
        # nobody needs to have a record to be refused
        ([acts(5, action="event.denied")] , {"known": {}}, [(5, 0, HAND_OVER)], None),
    ],
)  # fmt: skip
def test_a_page_is_planned(
    page: list[Any], given_: dict[str, Any], steps: list[Any], place: tuple[int, int] | None
) -> None:
    """Each change of a page has one act, and the place moves past all of them."""
    found = plan(page, **given_)
    assert told(found) == steps
    assert found.place == (place or (100, WHOLE))


def test_what_is_too_young_says_when_it_is_no_longer() -> None:
    """So that nobody looks again before."""
    assert plan([starts(5)]).rests_until == NOON + SETTLING
    assert plan([acts(5)]).rests_until is None


def test_the_person_of_a_change_is_the_one_on_record() -> None:
    """Of a deleted one the id is left, with what handlers wrote; of an unknown one the id."""
    changed = plan([acts(5)]).steps[0].change
    assert (changed.user.email, changed.user.status) == ("1@example.com", "active")
    gone = acts(6, after={"status": "deleted", "written": {"customer": 4}}, before={"email": "x"})
    deleted = plan([gone], known=people(user(ADA, Status.DELETED))).steps[0].change
    assert deleted.kind is Kind.USER_DELETED
    assert (deleted.user.email, deleted.user.written) == ("", {"customer": 4})
    assert (deleted.before, deleted.after) == ({}, {})
    denied = plan([acts(7, action="event.denied")], known={}).steps[0].change
    assert (denied.user.id, denied.user.status) == (ADA, "")


@pytest.mark.parametrize(
    ("event", "origin", "marked", "starts_", "silent"),
    [
        ("signup", "live", False, True, False),
        ("validate", "live", False, True, False),
        ("login", "live", False, False, False),
        ("signup", "trigger", False, False, False),
        ("signup", "replay", False, False, True),
        ("signup", "effects", False, False, False),
        ("", "", False, False, False),
        ("", "", True, False, True),
    ],
)
def test_the_cause_says_whether_and_when(
    event: str, origin: str, marked: bool, starts_: bool, silent: bool
) -> None:
    """A live start may still be rolled back; what is played back is told to nobody."""
    found = cause_of(entry(1), event, origin, marked=marked)
    assert (found.starts, found.silent) == (starts_, silent)


def test_a_row_is_found_again_in_its_entry() -> None:
    """By the id of its change, as long as the person is there."""
    found = starts(5)
    step = plan([found], age=OLD).steps[1]
    row = row_of(step, NAME)
    assert (row.sequence, row.part, row.kind, row.key) == (5, 1, "user.confirmed", (INSTANCE, ADA))
    assert step_again(row, found, people(user(ADA)), LATER) == step
    assert step_again(row, found, people(user(ADA, Status.DELETED)), LATER) is None
    assert step_again(row, acts(5), people(user(ADA)), LATER) is None


def test_the_pauses_double_up_to_six_hours_for_three_days() -> None:
    """Then the change is a dead letter."""
    pauses = [back_off(tries, 0.5) for tries in range(1, MAX_TRIES)]
    known = [pause for pause in pauses if pause is not None]
    assert len(known) == len(pauses)
    assert known[:3] == [FIRST_BACK_OFF, 2 * FIRST_BACK_OFF, 4 * FIRST_BACK_OFF]
    assert max(known) == LONGEST_BACK_OFF
    assert GIVES_UP_AFTER <= sum(known, timedelta()) <= GIVES_UP_AFTER + LONGEST_BACK_OFF
    assert back_off(MAX_TRIES, 0.5) is None


@given(st.integers(1, MAX_TRIES - 1), st.floats(0, 1))
def test_no_pause_is_far_from_its_length(tries: int, chance: float) -> None:
    """Chance only spreads them."""
    usual, pause = back_off(tries, 0.5), back_off(tries, chance)
    assert usual is not None
    assert pause is not None
    assert 0.89 * usual <= pause <= 1.11 * usual


def test_a_failed_change_is_due_again_or_dead() -> None:
    """A receiver may ask for a longer pause, within bounds."""
    row = row_of(plan([acts(5)]).steps[0], NAME)
    first = failed(row, "500", NOON, 0.5, None)
    assert (first.tries, first.error, first.failed_at) == (1, "500", NOON)
    assert first.due_at == NOON + FIRST_BACK_OFF
    assert first.is_waiting
    assert failed(row, "500", NOON, 0.5, 60).due_at == NOON + timedelta(seconds=60)
    assert failed(row, "500", NOON, 0.5, 1).due_at == NOON + FIRST_BACK_OFF
    assert failed(row, "500", NOON, 0.5, 1e9).due_at == NOON + LONGEST_BACK_OFF
    last = failed(replace(row, tries=MAX_TRIES - 1), "500", NOON, 0.5, 60)
    assert (last.state, last.due_at) == (State.DEAD, None)


def test_an_account_that_never_comes_to_be_drops_its_changes() -> None:
    """They are no dead letters: nothing has failed."""
    row = row_of(plan([starts(5)], age=OLD).steps[0], NAME)
    for _ in range(LOOKS - 1):
        row = without_account(row, NOON, 0.5)
        assert row.is_waiting
        assert row.due_at is not None
    row = without_account(row, NOON, 0.5)
    assert (row.state, row.due_at) == (State.DROPPED, None)


@given(st.uuids())
def test_each_person_is_in_one_shard(user_id: UUID) -> None:
    """Shards are ranges of ids, and leave none out."""
    inside = [
        shard for shard in range(SHARDS) if users_of(shard)[0] <= user_id <= users_of(shard)[1]
    ]
    assert inside == [shard_of(user_id)]
    assert users_of(0)[0].int == 0
    assert users_of(SHARDS - 1)[1].int == 2**128 - 1


@pytest.mark.parametrize(("number", "shard"), [(0, 0), (2**126 - 1, 0), (2**126, 1), (2**127, 2)])
def test_the_first_two_bits_are_the_shard(number: int, shard: int) -> None:
    """As the databases compare ids."""
    assert shard_of(UUID(int=number)) == shard
    assert [each.int for each in users_of(shard)] == [shard << 126, (shard + 1 << 126) - 1]


def test_a_lease_is_longer_for_a_handler_that_may_take_longer() -> None:
    """By a margin, and by the time after which it is renewed."""
    long = timedelta(seconds=600)
    assert lease_of(600) == long + MARGIN + RENEWED_AFTER
    assert lasts(NOON + long + MARGIN, NOON, 600)
    assert not lasts(NOON + long + MARGIN, NOON, 601)


@given(st.floats(0.1, 3_600))
def test_a_new_lease_lasts_longer_than_a_hand_over(seconds: float) -> None:
    """So that no other server takes the shard meanwhile."""
    until = NOON + lease_of(seconds)
    assert lasts(until, NOON, seconds)
    assert not lasts(until, until - timedelta(seconds=seconds), seconds)


def test_changes_of_an_entry_have_their_places() -> None:
    """The parts are their places among the changes of the entry."""
    found = starts(5)
    steps = plan([found], age=OLD).steps
    assert [step.change.id for step in steps] == [one.id for one in changes_of(found.entry)]


ENTRY = st.tuples(st.sampled_from((ADA, BEA)), st.booleans())


@given(
    st.lists(ENTRY, max_size=12),
    st.integers(MOST_HELD - 3, MOST_HELD),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_a_mark_loses_no_change_and_keeps_the_order(
    changes: list[tuple[UUID, bool]], rows: int, at_once: int, limit: int
) -> None:
    """However the entries are cut into pages, and however few are read behind the mark."""
    entries = [
        (starts if two else acts)(number, who) for number, (who, two) in enumerate(changes, 1)
    ]
    waiting, marked = {ADA: rows}, list[UUID]()
    kept, marks = list[Waiting](), list[Waiting]()
    for begin in range(0, len(entries), at_once):
        found = plan(
            entries[begin : begin + at_once], age=OLD, waiting=waiting, marked=marked, up_to=None
        )
        for step in found.steps:
            if step.action is MARK:
                marks.append(row_of(step, NAME))
                marked = [ADA]
            elif step.action is HOLD_BACK:
                kept.append(row_of(step, NAME))
                waiting[ADA] += 1
    assert len(marks) <= 1
    assert len(kept) + rows <= MOST_HELD
    rest = marks[0] if marks else None
    while rest is not None:
        mark = rest
        assert mark.is_mark
        page = [
            each
            for each in entries
            if each.entry.user_id == ADA and (each.entry.sequence or 0) >= mark.sequence
        ]
        left = page[limit].entry.sequence if len(page) > limit else None
        more, rest = behind_mark(mark, page[:limit], ALL, (len(entries), WHOLE), left)
        kept += more
    places = [(each.sequence, each.part) for each in kept]
    mine = [each for each in entries if each.entry.user_id == ADA]
    assert places == [
        (each.entry.sequence, part) for each in mine for part in range(len(changes_of(each.entry)))
    ]


def test_behind_a_mark_is_only_what_the_consumer_has_come_to() -> None:
    """Within the entries of both ends, too, and of the kinds that it is for."""
    step = plan([starts(5)], age=OLD, waiting={ADA: MOST_HELD}, after=(5, 0)).steps[0]
    assert (step.action, step.part) == (MARK, 1)
    mark, page = row_of(step, NAME), [starts(5), starts(6)]

    def places(patterns: frozenset[str] = ALL) -> list[tuple[int, int]]:
        rows, rest = behind_mark(mark, page, patterns, (6, 0), None)
        assert rest is None
        return [(each.sequence, each.part) for each in rows]

    assert places() == [(5, 1), (6, 0)]
    assert places(frozenset({"user.created"})) == [(6, 0)]


@pytest.mark.parametrize(
    ("kinds", "started", "seen", "does"),
    [
        (["user.created"], -60, 0, True),
        (["user.created"], 60, 0, True),
        (["user.*"], 1, 0, True),
        (["user.*"], 0, 0, False),
        (["user.*"], -60, GIVES_WAY_AFTER.total_seconds() - 1, False),
        (["user.*"], -60, GIVES_WAY_AFTER.total_seconds(), True),
    ],
)
def test_the_kinds_of_the_server_started_last_count(
    kinds: list[str], started: float, seen: float, does: bool
) -> None:
    """Others do so only once it is gone."""
    assert does is counts(
        kinds,
        NOON + timedelta(seconds=started),
        LATER + timedelta(seconds=seen),
        noted=["user.created"],
        noted_at=NOON,
        seen_at=LATER,
    )
