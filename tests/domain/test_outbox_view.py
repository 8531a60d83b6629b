"""Changes that an event or an act led to, and who does not have them."""

from __future__ import annotations

from msgspec.structs import replace

from tests.domain.test_outbox_queue import ADA, ALL, NAME, entry
from tests.support import NOON
from usher.core.domain.outbox import changes_of
from usher.core.domain.outbox_queue import WHOLE, Found, Place, State, Waiting
from usher.core.domain.outbox_view import (
    Known,
    Led,
    Seen,
    Standing,
    led_document,
    led_to,
    seen_document,
    standing_document,
)
from usher.core.domain.records import AuditEntry

GRANTED = entry(
    5,
    before={"profile": {}, "roles": {}},
    after={"profile": {"n": 1}, "roles": {"editor": {"administrator": {"is": "grant"}}}},
)
"""Two changes: user.changed, and role.granted."""
CHANGED, ROLE = (change.id for change in changes_of(GRANTED))


def at(*place: int, name: str = NAME, patterns: frozenset[str] = ALL) -> Known:
    """A consumer that has come to a place of the first shard."""
    where: Place = (place[0], place[1] if place[1:] else WHOLE)
    return Known(name, patterns, {0: where})


def row(change_id: str, state: State = State.WAITING) -> Waiting:
    """The row of one of these changes."""
    return Waiting(
        id=3,
        consumer=NAME,
        sequence=5,
        part=0,
        instance_id=GRANTED.instance_id,
        user_id=ADA,
        kind="user.changed",
        role="",
        change_id=change_id,
        at=NOON,
        state=state,
        tries=2,
        error="no",
    )


def led(
    *consumers: Known,
    rows: tuple[Waiting, ...] = (),
    gone: bool = False,
    silent: bool = False,
    of: AuditEntry = GRANTED,
) -> list[Led]:
    """What the entry led to."""
    return led_to(Found(of, starts=False, silent=silent), consumers, rows, gone=gone)


def open_(*consumers: Known, gone: bool = False) -> list[list[str]]:
    """Who does not have each of the changes."""
    return [[each.consumer for each in one.outstanding] for one in led(*consumers, gone=gone)]


def test_a_consumer_before_a_change_is_still_to_get_it() -> None:
    """By entry and by part; one that has come past it has it."""
    assert open_(at(4)) == [[NAME], [NAME]]
    assert open_(at(5, 0)) == [[], [NAME]]
    assert open_(at(5, 1)) == open_(at(5)) == open_(at(6)) == [[], []]
    assert open_(Known(NAME, ALL, {})) == [[], []]
    assert [each.state for one in led(at(4)) for each in one.outstanding] == ["to_come"] * 2


def test_only_what_it_is_for_is_to_come() -> None:
    """Not its own changes, what was played back, or what a deletion takes the place of."""
    assert open_(at(4, patterns=frozenset({"role.*"}))) == [[], [NAME]]
    assert open_(at(4, name=GRANTED.actor)) == [[], []]
    assert open_(at(4), gone=True) == [[], []]
    played = led(at(4), silent=True)
    assert [(each.told, each.outstanding) for each in played] == [(False, ())] * 2
    removed = entry(5, action="user.removed", after={})
    (deletion,) = led(at(4), gone=True, of=removed)
    assert deletion.change.kind == "user.deleted"
    assert len(deletion.outstanding) == 1


def test_a_row_says_more_than_the_place() -> None:
    """Its state and number; consumers stand in the order of their names."""
    other = at(4, name="handler:a")
    first, second = led(at(5), other, rows=(row(CHANGED, State.DEAD), row("chg_unknown")))
    assert [(each.consumer, each.state) for each in first.outstanding] == [
        ("handler:a", "to_come"),
        (NAME, "dead"),
    ]
    assert [each.consumer for each in second.outstanding] == ["handler:a"]
    told = led_document(first)
    assert told["outstanding"][0] == {
        "consumer": "handler:a",
        "state": "to_come",
        "number": None,
        "tries": 0,
        "due_at": None,
        "error": None,
    }
    assert told["outstanding"][1] | {"due_at": None} == {
        "consumer": NAME,
        "state": "dead",
        "number": 3,
        "tries": 2,
        "due_at": None,
        "error": "no",
    }
    assert (told["id"], told["role"], led_document(second)["role"]) == (CHANGED, None, "editor")


def test_documents_say_null_where_nothing_is_known() -> None:
    """The entry may be gone; words that are empty are none."""
    gone = seen_document(Seen(replace(row(CHANGED), error=""), None, None))
    assert [gone[name] for name in ("actor", "reason", "delivery_id", "behind", "error")] == (
        [None] * 5
    )
    change = replace(changes_of(GRANTED)[0], reason="why", delivery_id="d")
    known = seen_document(Seen(row(CHANGED), change, 2))
    assert [known[name] for name in ("actor", "reason", "delivery_id", "behind", "error")] == [
        "user:x",
        "why",
        "d",
        2,
        "no",
    ]
    standing = Standing(NAME, 1, 2, 3, None, NOON, paused=True)
    assert standing_document(standing)["paused"] is True
    assert standing_document(standing)["behind"] == 1


def test_behind_a_mark_everything_is_to_come() -> None:
    """Though the consumer has come further with others."""
    mark = replace(row(CHANGED), kind="", sequence=5, part=0)
    assert open_(at(9).up_to(mark)) == [[NAME], [NAME]]
    assert open_(at(9).up_to(replace(mark, part=1))) == [[], [NAME]]
    assert open_(at(9).up_to(replace(mark, sequence=6))) == [[], []]
