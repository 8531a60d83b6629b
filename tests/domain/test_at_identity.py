"""What is noted of one user at Identity: what each event does to it, and how it is stored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from tests.domain.decide_support import NOON, T0
from usher.core.domain.at_identity import ECHO_SECONDS, UNKNOWN, WRITE_SECONDS, AtIdentity
from usher.core.domain.in_flight import (
    IN_FLIGHT_SECONDS,
    MOST_IN_FLIGHT,
    MOST_IN_FLIGHT_CHARACTERS,
    InFlight,
)

LATER = NOON + timedelta(minutes=5)
AT = int(LATER.timestamp())


def roles(*names: str) -> frozenset[str]:
    """Some roles."""
    return frozenset(names)


# noted before, roles shown -> seen, sent, withdrawn afterwards; added, removed there
LOOKS: dict[str, tuple[AtIdentity, frozenset[str], AtIdentity, set[str], set[str]]] = {
    "somebody new": (UNKNOWN, roles("a"), AtIdentity(roles("a")), {"a"}, set()),
    "as before": (AtIdentity(roles("a")), roles("a"), AtIdentity(roles("a")), set(), set()),
    "another": (AtIdentity(roles("a")), roles("b"), AtIdentity(roles("b")), {"b"}, {"a"}),
    "our answer": (UNKNOWN.told(roles("a"), roles(), int(NOON.timestamp())), roles("a"),
                   AtIdentity(roles("a")), set(), set()),
    "not yet our answer": (AtIdentity(sent={"a": AT - ECHO_SECONDS}), roles(),
                           AtIdentity(sent={"a": AT - ECHO_SECONDS}), set(), set()),
    "never our answer": (AtIdentity(sent={"a": AT - ECHO_SECONDS - 1}), roles(), UNKNOWN,
                         set(), set()),
    "our removal": (AtIdentity(roles("a"), {}, {"a": T0}), roles(), UNKNOWN, set(), set()),
    "not yet our removal": (AtIdentity(roles("a"), {}, {"a": T0}), roles("a"),
                            AtIdentity(roles("a"), {}, {"a": T0}), set(), set()),
    "our push": (AtIdentity(roles("a"), pushing=roles("b"), pushing_since=AT), roles("b"),
                 AtIdentity(roles("b"), pushing=roles("b"), pushing_since=AT), set(), set()),
    "a push given up": (
        AtIdentity(roles("a"), pushing=roles("b"), pushing_since=AT - WRITE_SECONDS), roles("b"),
        AtIdentity(roles("b"), pushing=roles("b"), pushing_since=AT - WRITE_SECONDS), {"b"}, {"a"}),
    "against a push": (AtIdentity(roles("a"), pushing=roles("a", "b"), pushing_since=AT), roles(),
                       AtIdentity(pushing=roles("a", "b"), pushing_since=AT), set(), {"a"}),
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKS)
def test_a_look_tells_what_people_changed_there(name: str) -> None:
    """Whatever our answers and a push do not explain; who waits to be told waits still."""
    before, shown, after, added, removed = LOOKS[name]
    for pending in (False, True):
        found = replace(before, pending=pending).observe(shown, LATER)
        changed = found.added or found.removed or before.pushing is not None
        in_flight = (InFlight(AT, AT, before.seen),) if changed else ()
        assert found.at_identity == replace(after, pending=pending, in_flight=in_flight)
        assert (found.added, found.removed) == (added, removed)


def test_what_is_told_is_expected_there() -> None:
    """Each role with the time it was answered at; the same as shown is no news."""
    before = AtIdentity(roles("a", "b"), {"c": T0}, {"b": T0}, pending=True)
    assert before.expected == {"a", "c"}
    assert before.told(roles("a", "b"), roles("a", "b"), int(LATER.timestamp())) == before
    told = before.told(roles("d"), roles("a", "b"), int(LATER.timestamp()))
    assert told == AtIdentity(roles("a", "b"), {"c": T0, "d": AT}, {"a": AT, "b": AT}, pending=True)
    assert told.expected == {"c", "d"}
    assert (told.answered_since(before), before.answered_since(told)) == (True, True)
    assert not before.answered_since(before)


def test_a_push_is_noted_until_it_is_settled() -> None:
    """Begun, it is told and being written; settled, Identity has it, or a look is due."""
    waiting = AtIdentity(roles("a")).marked_pending()
    begun = waiting.push_begun(roles("b"), roles("a"), LATER)
    assert begun == AtIdentity(
        roles("a"), {"b": AT}, {"a": AT}, pending=True, pushing=roles("b"), pushing_since=AT
    )
    assert begun.settled() == AtIdentity(roles("a"), {"b": AT}, {"a": AT})
    assert begun.settled(look_again=True) == begun.settled().marked_pending()
    assert begun.settled().unanswered(before=begun) == begun


@pytest.mark.parametrize(
    ("age", "undone"), [(IN_FLIGHT_SECONDS - 1, True), (IN_FLIGHT_SECONDS, False)]
)
def test_a_young_answer_may_undo_a_push(age: int, undone: bool) -> None:
    """Whether it gave a role or took one away."""
    assert AtIdentity(sent={"a": AT - age}).may_be_undone(LATER) is undone
    assert AtIdentity(withdrawn={"a": AT - age}).may_be_undone(LATER) is undone


def test_e1_answers_are_forgotten_oldest_first_beyond_their_number_and_size() -> None:
    """One that says the same again renews the earlier one; logins in a loop add nothing."""
    there = UNKNOWN
    for number in range(MOST_IN_FLIGHT + 3):
        for _ in range(2):
            there = there.answered(roles(f"r{number}"), roles(), LATER, AT + number)
    assert [one.signed_at - AT for one in there.in_flight] == list(range(3, MOST_IN_FLIGHT + 3))
    again = there.answered(roles("r3"), roles(), LATER, AT + 40)
    assert again.in_flight[-1] == InFlight(AT + 40, AT, roles(), roles("r3"), repeated=True)
    assert len(again.in_flight) == MOST_IN_FLIGHT
    large = there.answered(roles("x" * MOST_IN_FLIGHT_CHARACTERS), roles(), LATER, AT + 50)
    assert [one.signed_at for one in large.in_flight] == [AT + 50]


@pytest.mark.parametrize(("age", "signed", "kept"), [
    (99, IN_FLIGHT_SECONDS - 1, True), (0, IN_FLIGHT_SECONDS, False),
    (IN_FLIGHT_SECONDS - 1, None, True), (IN_FLIGHT_SECONDS, None, False),
])  # fmt: skip
def test_e1_an_answer_is_remembered_until_evidence_after_twenty_seconds(
    age: int, signed: int | None, kept: bool
) -> None:
    """An event's signature counts by Identity's clock; a look at Identity by ours."""
    answered = roles("a"), roles("a")
    there = AtIdentity(roles("a")).answered(*answered, LATER - timedelta(seconds=age), 500)
    signed_at = None if signed is None else 500 + signed
    found = there.observe(roles("a"), LATER, signed_at=signed_at)
    assert bool(found.at_identity.in_flight) is kept


STORED: list[tuple[AtIdentity, dict[str, Any]]] = [
    (UNKNOWN, {"seen": [], "sent": {}, "withdrawn": {}}),
    (
        AtIdentity(roles("b", "a"), {"c": 1}, {"a": 2}, pending=True),
        {"seen": ["a", "b"], "sent": {"c": 1}, "withdrawn": {"a": 2}, "pending": True},
    ),
    (
        AtIdentity(pending=True, pushing=roles(), pushing_since=5),
        {
            "seen": [], "sent": {}, "withdrawn": {},
            "pending": True, "pushing": [], "pushing_since": 5,
        },
    ),
    (
        AtIdentity(in_flight=(
            InFlight(1, 2, roles("b", "a"), roles("c"), repeated=True, delivery="0f"),
            InFlight(3, 4, roles("a")),
        )),
        {
            "seen": [], "sent": {}, "withdrawn": {},
            "in_flight": [[1, 2, ["a", "b"], ["c"], True, "0f"], [3, 4, ["a"], None, False, ""]],
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("noted", "document"), STORED)
def test_it_is_stored_as_json(noted: AtIdentity, document: dict[str, Any]) -> None:
    """Whatever is not so is left out; databases hold this form."""
    assert noted.document() == document
    assert AtIdentity.read(document | {"proven": []}) == noted


def test_what_identity_held_before_a_change_there_is_no_answer_that_shows() -> None:
    """Without ``told`` there is no answer whose roles a payload could show."""
    before = InFlight(AT, AT, roles("a"))
    assert not before.may_show(roles("a"))
    assert not before.is_shown(roles("a"))


def test_answers_that_earlier_and_later_versions_noted_are_read() -> None:
    """An upgrade is under way: two versions write the same records, with four, five or more."""
    entries = [
        [1, 2, ["a"], ["b"]],
        [1, 2, ["a"], ["b"], True],
        [1, 2, ["a"], None, False, "0f"],
        [1, 2, ["a"], None, False, "0f", "of a later version"],
    ]
    document = UNKNOWN.document() | {"in_flight": entries}
    assert AtIdentity.read(document).in_flight == (
        InFlight(1, 2, roles("a"), roles("b")),
        InFlight(1, 2, roles("a"), roles("b"), repeated=True),
        InFlight(1, 2, roles("a"), None, delivery="0f"),
        InFlight(1, 2, roles("a"), None, delivery="0f"),
    )
