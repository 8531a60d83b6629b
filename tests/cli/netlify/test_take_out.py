"""Our lines are taken out, and everybody else's stay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usher.cli.netlify.take_out import take_out

BEFORE = "a\nb\nc\n"
WRITTEN = "a\nours\nB\nc\nours too\n"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (WRITTEN, BEFORE),
        ("theirs\n" + WRITTEN, "theirs\n" + BEFORE),
        (WRITTEN + "theirs\n", BEFORE + "theirs\n"),
        ("A" + WRITTEN[1:], "A" + BEFORE[1:]),
        ("a\nours\nB\nC\nD\nours too\n", "a\nb\nC\nD\n"),
        ("a\nours\nB\nc\n\n# theirs\n", None),
        ("a\nours, changed\nB\nc\nours too\n", None),
        ("a\nours\nbetween\nB\nc\nours too\n", None),
        ("", None),
    ],
)
def test_what_was_changed_since_is_kept_or_nothing_is_done(now: str, expected: str | None) -> None:
    """Beside our lines it is kept; within them nobody can tell what is whose."""
    assert take_out(now, WRITTEN, BEFORE) == expected


LINES = st.lists(st.sampled_from("abcdefgh").map("{}\n".format), max_size=8)


@given(LINES, st.booleans(), st.data())
def test_lines_added_beside_ours_survive(
    lines: list[str], distinct: bool, data: st.DataObject
) -> None:
    """A block of ours anywhere, and a line of somebody else's anywhere but within it.

    Of lines that are equal, any may count as the one that was there; nothing is lost.
    """
    lines = list(dict.fromkeys(lines)) if distinct else lines
    at = data.draw(st.integers(0, len(lines)))
    place = data.draw(st.integers(0, len(lines)))
    block = ["# ours\n", "one\n", "two\n"]
    written = [*lines[:at], *block, *lines[at:]]
    there = place if place < at else place + len(block)
    now = [*written[:there], "theirs\n", *written[there:]]
    expected = [*lines[:place], "theirs\n", *lines[place:]]
    found = take_out("".join(now), "".join(written), "".join(lines))
    if distinct:
        assert found == "".join(expected)
    elif found is not None:
        assert sorted(found.splitlines(keepends=True)) == sorted(expected)


@given(*[st.lists(st.sampled_from("abc").map("{}\n".format), max_size=6).map("".join)] * 2)
def test_unchanged_it_is_as_before(written: str, before: str) -> None:
    """Whatever the change was."""
    assert take_out(written, written, before) == before
