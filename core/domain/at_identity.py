"""Identity's side of one user's roles: those it has shown, and those it was told. Pure.

A payload's roles differ from ours for three reasons: a person changed them there, our last answer
has not arrived yet, or Identity rolled it back. The notes here tell these apart, and serve nothing
else (docs/lifecycle.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

ECHO_SECONDS: Final = 3600
"""A payload may contradict our answer for this long; later ones show that it was rolled back."""
IN_FLIGHT_SECONDS: Final = 20
"""Identity stores an answer within this time: three attempts of 5 s, and a margin."""
WRITE_SECONDS: Final = 120
"""A push may explain a payload's roles for this long: its lease and the wait after it."""


@dataclass(frozen=True, slots=True)
class AtIdentity:
    """Notes on one user at Identity; times are seconds since the epoch.

    Attributes:
        seen: the roles in Identity's newest payload or admin answer.
        sent: roles in our replies that no payload has shown yet, each with its time.
        withdrawn: roles left out of our replies that payloads still showed, each with its time.
        pending: a change must still be pushed to Identity (usher.core.identity.push).
        pushing: the roles that a push is writing now; None: no push is under way.
        pushing_since: the time at which that push was noted.
    """

    seen: frozenset[str] = frozenset()
    sent: Mapping[str, int] = field(default_factory=dict)
    withdrawn: Mapping[str, int] = field(default_factory=dict)
    pending: bool = False
    pushing: frozenset[str] | None = None
    pushing_since: int = 0

    @property
    def expected(self) -> AbstractSet[str]:
        """The roles at Identity once all our answers have arrived."""
        return (self.seen | self.sent.keys()) - self.withdrawn.keys()

    def observe(self, shown: frozenset[str], now: datetime) -> Observed:
        """Compare the roles in a payload or an admin answer with the notes.

        Added there = shown - seen - sent; removed there = seen - shown - withdrawn. During a push,
        a role shown as the push writes it counts as the push's doing: the push was worked out
        before, without knowing of anybody's change meanwhile.
        """
        seen = self.seen
        if self.pushing is not None and now.timestamp() < self.pushing_since + WRITE_SECONDS:
            not_ours = shown ^ self.pushing
            seen = (seen & not_ours) | (shown - not_ours)
        # A payload that shows our answer confirms it. Another may be older than the answer for
        # ECHO_SECONDS; after that the answer counts as rolled back.
        horizon = int(now.timestamp()) - ECHO_SECONDS
        sent, withdrawn = self.sent.items(), self.withdrawn.items()
        noted = AtIdentity(
            shown,
            {role: at for role, at in sent if role not in shown and at >= horizon},
            {role: at for role, at in withdrawn if role in shown and at >= horizon},
            self.pending,
            self.pushing,
            self.pushing_since,
        )
        added = shown - seen - self.sent.keys()
        removed = seen - shown - self.withdrawn.keys()
        return Observed(noted, added, removed)

    def told(self, roles: frozenset[str], shown: frozenset[str], now: datetime) -> AtIdentity:
        """Note an answer or a push with these roles; Identity had ``shown`` before it."""
        if roles == shown:
            return self
        moment = int(now.timestamp())
        return AtIdentity(
            self.seen,
            {**self.sent, **dict.fromkeys(sorted(roles - shown), moment)},
            {**self.withdrawn, **dict.fromkeys(sorted(shown - roles), moment)},
            self.pending,
            self.pushing,
            self.pushing_since,
        )

    def marked_pending(self) -> AtIdentity:
        """Note a change here that no answer carries."""
        return replace(self, pending=True)

    def unanswered(self, before: AtIdentity) -> AtIdentity:
        """Note that the answer just worked out is not sent: Identity must still be told.

        Args:
            before: the notes before that answer was worked out.
        """
        return replace(
            self, pending=True, pushing=before.pushing, pushing_since=before.pushing_since
        )

    def push_begun(self, roles: frozenset[str], shown: frozenset[str], now: datetime) -> AtIdentity:
        """Note the start of a push that writes these roles; Identity had ``shown`` before it."""
        told = self.told(roles, shown, now)
        return replace(told, pushing=roles, pushing_since=int(now.timestamp()))

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
        """Whether an answer since ``earlier`` had other roles than its event showed."""
        return _newer(self.sent, earlier.sent) or _newer(self.withdrawn, earlier.withdrawn)

    def document(self) -> dict[str, Any]:
        """The notes as JSON."""
        found: dict[str, Any] = {
            "seen": sorted(self.seen),
            "sent": self.sent,
            "withdrawn": self.withdrawn,
        }
        if self.pending:
            found["pending"] = True
        if self.pushing is not None:
            found["pushing"] = sorted(self.pushing)
            found["pushing_since"] = self.pushing_since
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
        )


UNKNOWN: Final = AtIdentity()
"""Of a user whom no event or answer has shown."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The result of ``AtIdentity.observe``.

    Attributes:
        at_identity: the notes from now on.
        added, removed: the roles that people changed there since the last look.
    """

    at_identity: AtIdentity
    added: AbstractSet[str]
    removed: AbstractSet[str]


def _newer(notes: Mapping[str, int], earlier: Mapping[str, int]) -> bool:
    return any(earlier.get(role) != at for role, at in notes.items())
