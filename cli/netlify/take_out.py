"""Take our part of a file out again, and keep all that somebody changed since."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple


class _Hunk(NamedTuple):
    """Lines ``start`` to ``end`` of a file, and what stands in their place."""

    start: int
    end: int
    lines: list[str]


def take_out(now: str, written: str, before: str) -> str | None:
    """Return ``now`` without what led from ``before`` to ``written``.

    None where somebody changed the same lines, so that nobody can tell what is whose.
    """
    lines = written.splitlines(keepends=True)
    ours = list(_hunks(lines, before.splitlines(keepends=True)))
    theirs = list(_hunks(lines, now.splitlines(keepends=True)))
    if any(_meet(one, other) for one in ours for other in theirs):
        return None
    # An insertion stands before a change that begins at the same line.
    for hunk in sorted([*ours, *theirs], key=lambda each: each[:2], reverse=True):
        lines[hunk.start : hunk.end] = hunk.lines
    return "".join(lines)


def _hunks(one: list[str], other: list[str]) -> Iterator[_Hunk]:
    for tag, start, end, first, last in SequenceMatcher(None, one, other, False).get_opcodes():
        if tag != "equal":
            yield _Hunk(start, end, other[first:last])


def _meet(one: _Hunk, other: _Hunk) -> bool:
    """Whether both change a line, or both insert at the same place."""
    if one[:2] == other[:2]:
        return True
    return one.start < other.end and other.start < one.end
