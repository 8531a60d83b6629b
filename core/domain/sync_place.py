"""A place in Identity's list of accounts, and how many are asked for there. Pure.

Identity gives a list in pages, counted from its beginning: page 3 of 50 begins after 100 accounts.
So a page can begin only at a multiple of its size. Every size divides the one before it, and a run
goes back to a larger one where that begins. Accounts are listed oldest first, so new ones come at
the end; where some are deleted, the rest slips forward, which the anchor tells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

SIZES: tuple[int, ...] = (200, 50, 10, 1)
"""Accounts asked for at once: many, and fewer where those are too large for one answer."""
MOST_STEPS_BACK: Final = 4
"""Times in a row; a run that met more deletions than that goes on, and leaves the rest to asking
for each record by its id."""


class Place(Struct, frozen=True, gc=False):
    """A place in the list.

    Attributes:
        offset: the number of accounts before it, a multiple of ``size``.
        size: the number of accounts asked for at once.
        anchor: the id of the last account before it whose id is known; empty: there is none.
        anchored_at: the number of accounts before the anchor.
        steps_back: times in a row that the list was seen to have moved.
    """

    offset: int = 0
    size: int = field(default_factory=lambda: SIZES[0])
    anchor: str = ""
    anchored_at: int = 0
    steps_back: int = 0

    @property
    def page(self) -> int:
        """The number of the page that begins here, from 1."""
        return self.offset // self.size + 1

    @property
    def is_smaller(self) -> bool:
        """Whether fewer accounts are asked for than could be."""
        return self.size < SIZES[0]

    @property
    def is_checked(self) -> bool:
        """Whether the anchor is to be asked for, before this page counts."""
        return bool(self.anchor) and self.steps_back < MOST_STEPS_BACK

    def smaller(self) -> Place:
        """The same place, with fewer accounts asked for."""
        return replace(self, size=next(size for size in SIZES if size < self.size))

    def after(self, count: int, ids: Sequence[str]) -> Place:
        """The place after a page, with a larger size where one begins there.

        Args:
            count: of accounts passed.
            ids: theirs, in order; an empty one where it is not known.
        """
        known = [at for at, user_id in enumerate(ids) if user_id]
        anchor, at = self.anchor, self.anchored_at
        if known:
            anchor, at = ids[known[-1]], self.offset + known[-1]
        offset = self.offset + count
        larger = [size for size in SIZES if size > self.size and offset % size == 0]
        size = larger[-1] if larger else self.size
        return Place(offset, size, anchor, at, 0 if self.anchor else self.steps_back)

    def back(self) -> Place:
        """The place to go on from where accounts before this one were deleted.

        They are as many as were deleted since the page before was read, a moment ago: far fewer
        than the largest page has.
        """
        offset = max(0, self.offset - SIZES[0])
        return Place(offset, self.size, steps_back=self.steps_back + 1)
