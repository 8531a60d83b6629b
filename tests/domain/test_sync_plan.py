"""What a sync was asked to do and how far it is: names, counts, and the way through JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher.core.domain.sync import Kind
from usher.core.domain.sync_place import SIZES, Place
from usher.core.domain.sync_plan import (
    MOST_NAMED,
    Phase,
    Plan,
    Progress,
    Trouble,
    Unreadable,
    too_many,
)

counts = st.dictionaries(st.sampled_from([kind.value for kind in Kind]), st.integers(0, 10**6))
unreadable = st.builds(
    Unreadable,
    st.uuids().map(str) | st.just(""),
    st.integers(0, 99),
    st.sampled_from(Trouble),
    st.text(),
)
progresses = st.builds(
    Progress,
    phase=st.sampled_from(Phase),
    at=st.builds(
        Place,
        offset=st.integers(0, 10**6),
        size=st.sampled_from(SIZES),
        anchor=st.uuids().map(str) | st.just(""),
        anchored_at=st.integers(0, 10**6),
        steps_back=st.integers(0, 4),
    ),
    place=st.uuids().map(str) | st.just(""),
    found=counts,
    mended=counts,
    unreadable=st.lists(unreadable, max_size=4).map(tuple),
)


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        (Plan(), "report"),
        (Plan(pull=True), "pull"),
        (Plan(push=True), "push"),
        (Plan(pull=True, push=True), "both"),
        (Plan(pull=True, push=True, prune=True), "both+prune"),
    ],
)
def test_a_plan_has_a_name(plan: Plan, name: str) -> None:
    """By which an interrupted run of the same plan is found."""
    assert plan.name == name


@pytest.mark.parametrize(
    ("count", "total", "expected"),
    [(0, 0, False), (1, 0, True), (5, 100, False), (6, 100, True), (1, 20, False), (1, 19, True)],
)
def test_more_than_five_percent_are_too_many(count: int, total: int, expected: bool) -> None:
    """Exactly five are not."""
    assert too_many(count, total) is expected


@given(progresses)
def test_progress_survives_the_database(progress: Progress) -> None:
    """What was kept is what is gone on with."""
    assert Progress.read(json.loads(json.dumps(progress.document()))) == progress


def test_progress_is_kept_with_the_accounts_it_names() -> None:
    """A run that was interrupted goes on with all that it has found."""
    progress = Progress(at=Place(offset=300), found={"email": 2}).naming([nameless(7)])
    assert Progress.read(json.loads(json.dumps(progress.document()))) == progress


@given(progresses, counts, counts)
def test_what_is_left_is_what_was_found_and_not_mended(
    progress: Progress, found: dict[str, int], mended: dict[str, int]
) -> None:
    """Kinds of which nothing is left are not named."""
    after = progress.counting(found, mended)
    for kind in Kind:
        total = progress.found.get(kind, 0) + found.get(kind, 0)
        done = progress.mended.get(kind, 0) + mended.get(kind, 0)
        assert after.left.get(kind, 0) == max(0, total - done)
    assert 0 not in after.left.values()


def test_progress_of_before_places_were_kept_is_read() -> None:
    """A run that was interrupted goes on, and one that is done stays done."""
    old = {"phase": "accounts", "page": 4, "anchors": ["a"], "steps_back": 1, "found": {"email": 2}}
    assert Progress.read(old) == Progress(at=Place(offset=600), found={"email": 2})
    assert Progress.read({"phase": "done"}).phase is Phase.DONE


def nameless(number: int) -> Unreadable:
    """An account known by its number alone."""
    return Unreadable("", number, Trouble.NO_ANSWER, "500")


def test_an_account_is_named_once() -> None:
    """By its number, which changes where the run steps back, until its id is found."""
    progress = Progress(at=Place(offset=300)).naming([nameless(7), nameless(250)])
    assert progress.naming([nameless(7)]) == progress
    asked = Unreadable("b", 0, Trouble.FORM, "no map")
    found = progress.naming_asked(asked)
    assert found.unreadable == (Unreadable("b", 7, Trouble.FORM, "no map"), nameless(250))
    assert found.left == {"unreadable": 2}
    again = found.naming_asked(Unreadable("c", 0, Trouble.FORM, "no map"))
    again = again.naming_asked(Unreadable("d", 0, Trouble.FORM, "no map"))
    assert [(each.id, each.number) for each in again.unreadable] == [("b", 7), ("c", 250), ("d", 0)]
    assert again.left == {"unreadable": 3}
    back = found.back()
    assert (back.at.offset, back.unreadable, back.left) == (
        100,
        found.unreadable[:1],
        {"unreadable": 1},
    )
    assert back.back().unreadable == back.unreadable


def test_so_many_are_named_and_all_are_counted() -> None:
    """A run's progress stays small."""
    progress = Progress().naming(nameless(number) for number in range(1, MOST_NAMED + 8))
    assert (len(progress.unreadable), progress.left) == (MOST_NAMED, {"unreadable": MOST_NAMED + 7})
