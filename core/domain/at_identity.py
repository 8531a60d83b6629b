"""Identity's side of one user's roles: those it has shown, and those it was told. Pure.

A payload's roles differ from ours for three reasons: a person changed them there, our last answer
has not arrived yet, or Identity rolled it back. The notes here tell these apart, and serve nothing
else (docs/lifecycle.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final

from msgspec import Struct, field
from msgspec.structs import replace

from usher.core.domain.in_flight import (
    IN_FLIGHT_SECONDS,
    InFlight,
    may_be_outdated,
    remembered,
    still_in_flight,
    unexplained,
)

ECHO_SECONDS: Final = 3600
"""A payload may contradict our answer for this long; later ones show that it was rolled back."""
WRITE_SECONDS: Final = 120
"""A push may explain a payload's roles for this long: its lease and the wait after it."""
_NONE: Final[frozenset[str]] = frozenset()


class AtIdentity(Struct, frozen=True, gc=False):
    """Notes on one user at Identity; times are seconds since the epoch.

    Attributes:
        seen: the roles in Identity's newest payload or admin answer.
        sent: roles in our replies that no payload has shown yet, each with its time.
        withdrawn: roles left out of our replies that payloads still showed, each with its time.
        pending: a change must still be pushed to Identity (usher.core.identity.push).
        pushing: the roles that a push is writing now; None: no push is under way.
        pushing_since: the time at which that push was noted.
        in_flight: answers that Identity may still store, oldest first, until a look that is later
            by ``IN_FLIGHT_SECONDS`` has been seen.
        unreadable: what of ``roles`` could not be read at the newest look; empty: all could.
    """

    seen: frozenset[str] = frozenset()
    sent: Mapping[str, int] = field(default_factory=dict)
    withdrawn: Mapping[str, int] = field(default_factory=dict)
    pending: bool = False
    pushing: frozenset[str] | None = None
    pushing_since: int = 0
    in_flight: tuple[InFlight, ...] = ()
    unreadable: str = ""

    @property
    def expected(self) -> AbstractSet[str]:
        """The roles at Identity once all our answers have arrived."""
        return (self.seen | self.sent.keys()) - self.withdrawn.keys()

    def observe(
        self,
        shown: frozenset[str],
        now: datetime,
        *,
        signed_at: int | None = None,
        read_early: bool = False,
    ) -> Observed:
        """Compare the roles in a payload or an admin answer with the notes.

        Added there = shown - seen - sent; removed there = seen - shown - withdrawn; each without
        what an answer in flight explains. During a push, a role shown as the push writes it counts
        as the push's doing: the push was worked out before, without knowing of anybody's change
        meanwhile.

        Args:
            signed_at: ``iat`` of the event; None: Identity was asked.
            read_early: the event shows what was read some time before it was signed.
        """
        if not shown and self == UNKNOWN:
            return _NOTHING_NEW  # as at most signups
        seen = self.seen
        pushing = self._being_written(now)
        if pushing is not None:
            not_ours = shown ^ pushing
            seen = (seen & not_ours) | (shown - not_ours)
        added: AbstractSet[str] = shown - seen - self.sent.keys()
        removed: AbstractSet[str] = seen - shown - self.withdrawn.keys()
        moment = int(now.timestamp())
        in_flight, noted_seen = self.in_flight, shown
        ours = pushing is not None
        if in_flight:
            young = [one for one in in_flight if not one.is_past(moment, signed_at)]
            if read_early and may_be_outdated(young, shown):
                return Observed(replace(self, in_flight=tuple(young), unreadable=""), _NONE, _NONE)
            added, removed = unexplained(in_flight, shown, added, removed)
            if read_early:
                earlier = frozenset[str]().union(*(one.held for one in young))
                noted_seen, added = shown - (added & earlier), added - earlier
            by_people = signed_at is not None and not read_early
            in_flight = still_in_flight(
                young,
                shown,
                self.seen,
                changed_there=bool(added or removed) if by_people else None,
                writing=ours,
            )
            ours = ours or bool(young)
        if added or removed or (ours and shown != self.seen):
            # A login that read the account before this change may come after it.
            before = InFlight(moment if signed_at is None else signed_at, moment, self.seen)
            in_flight = remembered(in_flight, before)
        # A payload that shows our answer confirms it. Another may be older than the answer for
        # ECHO_SECONDS; after that the answer counts as rolled back.
        horizon = moment - ECHO_SECONDS
        sent, withdrawn = self.sent.items(), self.withdrawn.items()
        noted = AtIdentity(
            noted_seen,
            {role: at for role, at in sent if role not in shown and at >= horizon},
            {role: at for role, at in withdrawn if role in shown and at >= horizon},
            self.pending,
            self.pushing,
            self.pushing_since,
            in_flight,
        )
        return Observed(noted, added, removed)

    def told(
        self,
        roles: frozenset[str],
        shown: frozenset[str],
        moment: int,
        in_flight: tuple[InFlight, ...] | None = None,
    ) -> AtIdentity:
        """Note that Identity is told these roles; it had ``shown`` before it."""
        return AtIdentity(
            self.seen,
            _noted(self.sent, roles - shown, moment),
            _noted(self.withdrawn, shown - roles, moment),
            self.pending,
            self.pushing,
            self.pushing_since,
            self.in_flight if in_flight is None else in_flight,
            self.unreadable,
        )

    def answered(
        self,
        roles: frozenset[str],
        shown: frozenset[str],
        now: datetime,
        signed_at: int,
        delivery: str = "",
    ) -> AtIdentity:
        """Note a 200 answer with these roles to an event that showed ``shown``."""
        moment = int(now.timestamp())
        answer = InFlight(signed_at, moment, shown, roles, False, delivery)
        return self.told(roles, shown, moment, remembered(self.in_flight, answer))

    def told_again(
        self, roles: frozenset[str], shown: frozenset[str], now: datetime, signed_at: int
    ) -> AtIdentity:
        """Note that several answers with these roles, to events with ``shown``, are on their way.

        So none of them counts as landed before the time is over.
        """
        in_flight = self.in_flight
        if all((one.held, one.told) != (shown, roles) for one in in_flight):
            answer = InFlight(signed_at, int(now.timestamp()), shown, roles)
            in_flight = remembered(in_flight, answer)
        return replace(
            self,
            in_flight=tuple(
                replace(one, repeated=True) if (one.held, one.told) == (shown, roles) else one
                for one in in_flight
            ),
        )

    @property
    def awaits_answers(self) -> bool:
        """Whether an answer may still replace the map at Identity."""
        return any(one.told is not None for one in self.in_flight)

    def may_come_to_differ(self, wanted: frozenset[str]) -> bool:
        """Whether an answer in flight may leave other roles at Identity than these.

        Where the newest answer has just told them, an older one counts only for roles that it has
        too many: what it lacks is told by the next answer.
        """
        told = [one.told for one in self.in_flight if one.told is not None]
        if told and told[-1] == wanted:
            return any(roles - wanted for roles in told)
        return any(roles != wanted for roles in told)

    def marked_pending(self) -> AtIdentity:
        """Note a change here that no answer carries."""
        return replace(self, pending=True)

    def unanswered(self, before: AtIdentity) -> AtIdentity:
        """Note that the answer just worked out is not sent: Identity must still be told.

        Args:
            before: the notes before that answer was worked out.
        """
        return replace(
            self,
            pending=True,
            pushing=before.pushing,
            pushing_since=before.pushing_since,
            in_flight=before.in_flight,
        )

    def push_begun(self, roles: frozenset[str], shown: frozenset[str], now: datetime) -> AtIdentity:
        """Note the start of a push that writes these roles; Identity had ``shown`` before it."""
        moment = int(now.timestamp())
        told = self.told(roles, shown, moment)
        return replace(told, pushing=roles, pushing_since=moment)

    def _being_written(self, now: datetime) -> frozenset[str] | None:
        if self.pushing is None or now.timestamp() >= self.pushing_since + WRITE_SECONDS:
            return None
        return self.pushing

    def writes(self, roles: frozenset[str], now: datetime) -> bool:
        """Whether a push is writing exactly these roles."""
        return self._being_written(now) == roles

    def settled(self, *, look_again: bool = False) -> AtIdentity:
        """Note that Identity was told, and that no push is under way.

        Args:
            look_again: stay pending: the change may be undone, or something is left to tell.
        """
        return replace(self, pending=look_again, pushing=None, pushing_since=0)

    def may_be_undone(self, now: datetime) -> bool:
        """Whether an answer may still be on its way, and overwrite a push."""
        young = int(now.timestamp()) - IN_FLIGHT_SECONDS
        return any(at > young for at in (*self.sent.values(), *self.withdrawn.values()))

    def answered_since(self, earlier: AtIdentity) -> bool:
        """Whether an answer since ``earlier`` had other roles than the push, or than its event."""
        if _newer(self.sent, earlier.sent) or _newer(self.withdrawn, earlier.withdrawn):
            return True
        return any(
            one.told not in (None, earlier.pushing)
            for one in self.in_flight
            if one not in earlier.in_flight
        )

    def document(self) -> dict[str, Any]:
        """The notes as JSON."""
        found: dict[str, Any] = {
            "seen": in_order(self.seen),
            "sent": self.sent,
            "withdrawn": self.withdrawn,
        }
        if self.pending:
            found["pending"] = True
        if self.pushing is not None:
            found["pushing"] = in_order(self.pushing)
            found["pushing_since"] = self.pushing_since
        if self.unreadable:
            found["unreadable"] = self.unreadable
        if self.in_flight:
            found["in_flight"] = [
                [
                    one.signed_at,
                    one.at,
                    in_order(one.held),
                    None if one.told is None else in_order(one.told),
                    one.repeated,
                    one.delivery,
                ]
                for one in self.in_flight
            ]
        return found

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> AtIdentity:
        """Read back what ``document`` wrote."""
        pushing = document.get("pushing")
        return cls(
            frozenset(document["seen"]),
            document["sent"],
            document["withdrawn"],
            "pending" in document,
            frozenset(pushing) if pushing is not None else None,
            document.get("pushing_since", 0),
            tuple(map(_read_in_flight, document.get("in_flight", ()))),
            document.get("unreadable", ""),
        )


def in_order(names: AbstractSet[str]) -> list[str]:
    """The names of a set, sorted."""
    return sorted(names) if len(names) > 1 else list(names)


def _read_in_flight(entry: Sequence[Any]) -> InFlight:
    """Of any version: earlier ones wrote fewer entries; a later one may add some at the end."""
    signed_at, at, held, told, *more = entry
    told = None if told is None else frozenset(told)
    return InFlight(signed_at, at, frozenset(held), told, *more[:2])


UNKNOWN: Final = AtIdentity()
"""Of a user whom no event or answer has shown."""


class Observed(Struct, frozen=True, gc=False):
    """The result of ``AtIdentity.observe``.

    Attributes:
        at_identity: the notes from now on.
        added, removed: the roles that people changed there since the last look.
    """

    at_identity: AtIdentity
    added: AbstractSet[str]
    removed: AbstractSet[str]


_NOTHING_NEW: Final = Observed(UNKNOWN, _NONE, _NONE)


def _noted(notes: Mapping[str, int], roles: frozenset[str], moment: int) -> Mapping[str, int]:
    return {**notes, **dict.fromkeys(sorted(roles), moment)} if roles else notes


def _newer(notes: Mapping[str, int], earlier: Mapping[str, int]) -> bool:
    return any(earlier.get(role) != at for role, at in notes.items())
