"""What a sync was asked to do and how far it is: names, counts, and the way through JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher.core.domain.sync import Kind
from usher.core.domain.sync_plan import Phase, Plan, Progress, too_many

counts = st.dictionaries(st.sampled_from([kind.value for kind in Kind]), st.integers(0, 10**6))
progresses = st.builds(
    Progress,
    phase=st.sampled_from(Phase),
    page=st.integers(1, 10**6),
    anchors=st.lists(st.uuids().map(str), max_size=4).map(tuple),
    place=st.uuids().map(str) | st.just(""),
    found=counts,
    mended=counts,
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
