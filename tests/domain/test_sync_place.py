"""The way through a list of pages whose size changes, and that moves meanwhile."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from usher.core.domain.sync_place import MOST_STEPS_BACK, SIZES, Place


def test_every_size_divides_the_one_before() -> None:
    """So a page of any of them begins where one of the larger ones did."""
    assert SIZES[-1] == 1
    assert all(one % other == 0 for one, other in pairwise(SIZES))


def test_sizes_shrink_in_place_and_grow_where_a_larger_page_begins() -> None:
    """Two hundred, fifty, ten, one; and back, one after the other."""
    place = Place(offset=400)
    sizes = []
    while place.size > 1:
        place = place.smaller()
        sizes.append((place.page, place.size))
    assert sizes == [(9, 50), (41, 10), (401, 1)]
    way = []
    while place.is_smaller:
        place = place.after(place.size, ["x"] * place.size)
        way.append((place.offset, place.size))
    ones = [(400 + number, 1) for number in range(1, 10)]
    tens = [(410 + 10 * number, 10) for number in range(4)]
    assert way == [*ones, *tens, (450, 50), (500, 50), (550, 50), (600, 200)]


def test_the_anchor_is_the_last_account_whose_id_is_known() -> None:
    """With its own place; a page without any leaves the one before."""
    place = Place().after(4, ["a", "b", "", ""])
    assert (place.anchor, place.anchored_at, place.is_checked) == ("b", 1, True)
    place = Place(offset=4, size=1, anchor="b", anchored_at=1).after(1, [""])
    assert (place.offset, place.anchor, place.anchored_at) == (5, "b", 1)
    assert not Place().is_checked


def test_a_list_that_moves_all_the_time_is_gone_through_even_so() -> None:
    """After some steps back the run goes on for a page."""
    place, seen = Place(offset=1_000, anchor="a", anchored_at=999), 0
    while place.offset < 2_000:
        seen += 1
        assert seen < 100
        if place.is_checked:
            place = place.back()
            assert place.anchor == ""
        else:
            place = place.after(place.size, ["x"] * place.size)
    assert MOST_STEPS_BACK == 4


@given(st.lists(st.sampled_from(["smaller", "after", "back"])), st.integers(0, 3))
def test_a_page_always_begins_at_a_multiple_of_its_size(ways: list[str], size: int) -> None:
    """Whatever happens, no account is asked for beside the place."""
    place = Place(size=SIZES[size])
    for way in ways:
        before = place
        if way == "after":
            place = place.after(place.size, ["x"] * place.size)
            assert place.offset == before.offset + before.size
        elif way == "back":
            place = place.back()
        elif place.size > 1:
            place = place.smaller()
            assert place.offset == before.offset
        assert place.offset % place.size == 0
        assert (place.page - 1) * place.size == place.offset
