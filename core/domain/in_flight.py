"""Answers on their way to Identity, and the changes there that they explain. Pure.

Identity holds no lock while it waits for an answer. So the answer may land over a later change, and
an event may show roles that were read before one (docs/lifecycle.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

IN_FLIGHT_SECONDS: Final = 20
"""Identity stores an answer within this time: three attempts of 5 s, and a margin."""
MOST_IN_FLIGHT: Final = 16
"""Answers remembered at once. Beyond it the oldest is forgotten, as though it had arrived."""
MOST_IN_FLIGHT_CHARACTERS: Final = 16_384
"""Characters of all remembered roles. Beyond it the oldest answers are forgotten as well."""
_NONE: Final[frozenset[str]] = frozenset()


class InFlight(Struct, frozen=True, gc=False):
    """An answer that may still replace what Identity holds, or a state that it held just before.

    Attributes:
        signed_at: ``iat`` of the answered event, by Identity's clock.
        at: its receipt, by ours.
        held: the roles that Identity had.
        told: the roles of the answer; None: nothing is on its way, ``held`` may still be shown.
        repeated: several such answers are on their way.
        delivery: tells events of one second apart; empty where there was none.
    """

    signed_at: int
    at: int
    held: frozenset[str]
    told: frozenset[str] | None = None
    repeated: bool = False
    delivery: str = ""

    def is_past(self, now: int, signed_at: int | None) -> bool:
        """Whether a look at this time came after the answer: it has landed, or never will."""
        if signed_at is None:
            return now >= self.at + IN_FLIGHT_SECONDS
        return signed_at >= self.signed_at + IN_FLIGHT_SECONDS

    def may_show(self, shown: frozenset[str]) -> bool:
        """Whether these roles show all that the answer changed, so that it may have landed."""
        if self.told is None:
            return False
        return self.told - self.held <= shown and not (self.held - self.told) & shown

    def landed(self) -> tuple[InFlight, InFlight]:
        """The states before and after it, which a login read earlier may still show."""
        held = (self.held, self.told or _NONE)
        before, after = (InFlight(self.signed_at, self.at, roles) for roles in held)
        return before, after

    def may_be_new(self, seen: frozenset[str]) -> bool:
        """Whether it can be this answer, and it alone, that changed what was seen before."""
        return not self.repeated and not self.may_show(seen)

    def is_shown(self, shown: frozenset[str]) -> bool:
        """Whether these roles are those of the answer, and perhaps others that it did not take."""
        return self.told is not None and self.told <= shown and self.may_show(shown)


def unexplained(
    in_flight: Sequence[InFlight],
    shown: frozenset[str],
    added: AbstractSet[str],
    removed: AbstractSet[str],
) -> tuple[AbstractSet[str], AbstractSet[str]]:
    """The changes that no answer in flight made.

    A role that an answer told counts as its doing even where the rest of the answer is not shown:
    somebody at Identity may have changed that since it landed.
    """
    for one in in_flight:
        if one.told is not None:
            added -= one.told
            if one.may_show(shown):
                removed &= one.told
    return added, removed


def may_be_outdated(young: Sequence[InFlight], shown: frozenset[str]) -> bool:
    """Whether an event read early shows exactly what Identity held before; it says nothing then."""
    return any(shown == one.held for one in young)


def still_in_flight(
    young: Sequence[InFlight],
    shown: frozenset[str],
    seen: frozenset[str],
    *,
    changed_there: bool | None,
    writing: bool,
) -> tuple[InFlight, ...]:
    """The answers to remember after a look; one that has landed as the states around it.

    That is the only one that made what is shown, where it was not shown before. A change at
    Identity may imitate an answer, so it must show another change as well.

    Args:
        seen: the roles at the look before.
        changed_there: somebody at Identity has just changed the account: whether roles that no
            answer explains; None: nobody has.
        writing: a push is under way.
    """
    if changed_there is None:
        showing = [one for one in young if one.told == shown]
    else:
        showing = [one for one in young if one.is_shown(shown)]
    certain = len(showing) == 1 and changed_there is not False and not writing
    landed = showing[0] if certain and showing[0].may_be_new(seen) else None
    return tuple(each for one in young for each in (one.landed() if one is landed else (one,)))


def remembered(in_flight: tuple[InFlight, ...], new: InFlight) -> tuple[InFlight, ...]:
    """The remembered answers with a new one; the oldest are forgotten beyond the bounds.

    One that says the same as an earlier one renews it. So logins in a loop add nothing.
    """
    if not in_flight:
        return (new,)
    if any(replace(one, repeated=False) == new for one in in_flight):
        return in_flight  # the same event again
    kept = [one for one in in_flight if (one.held, one.told) != (new.held, new.told)]
    new = replace(new, repeated=len(kept) < len(in_flight))
    kept = [*kept, new][-MOST_IN_FLIGHT:]
    while len(kept) > 1 and sum(map(_characters, kept)) > MOST_IN_FLIGHT_CHARACTERS:
        del kept[0]
    return tuple(kept)


def _characters(one: InFlight) -> int:
    return sum(map(len, one.held)) + sum(map(len, one.told or ()))
