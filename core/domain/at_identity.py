"""What Identity holds of one user's roles, as far as we know, and what it is told of. Pure.

The roles in a payload differ from ours because a person changed them there, or because our last
answer has not arrived yet, or was rolled back. What is noted here tells these apart; nothing else
reads these notes (docs/lifecycle.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

ECHO_SECONDS: Final = 3600
"""How long a payload that contradicts our answer may be older than the answer's arrival there."""
IN_FLIGHT_SECONDS: Final = 20
"""How long an answer of ours may take to be stored at Identity: three attempts of 5 s, and more."""
WRITE_SECONDS: Final = 120
"""How long a push explains what a payload shows: its lease and the wait after it."""


@dataclass(frozen=True, slots=True)
class AtIdentity:
    """One user at Identity.

    Attributes:
        seen: the roles in the newest payload or admin answer from Identity.
        sent: roles we put into replies that no payload has shown yet, with the time in seconds.
        withdrawn: roles we left out of replies that payloads still showed, likewise.
        pending: Identity has still to be told of a change (usher.core.identity.push).
        pushing: the roles that are being written at Identity just now; None: nothing is.
        pushing_since: when that was noted, in seconds.
    """

    seen: frozenset[str] = frozenset()
    sent: Mapping[str, int] = field(default_factory=dict)
    withdrawn: Mapping[str, int] = field(default_factory=dict)
    pending: bool = False
    pushing: frozenset[str] | None = None
    pushing_since: int = 0

    @property
    def expected(self) -> AbstractSet[str]:
        """The roles there once all that was answered has arrived."""
        return (self.seen | self.sent.keys()) - self.withdrawn.keys()

    def observe(self, shown: frozenset[str], now: datetime) -> Observed:
        """A payload, or an answer about the account, shows these roles.

        Added there = shown - seen - sent; removed there = seen - shown - withdrawn. A push was
        worked out before it could know what somebody did there meanwhile: so a role that is shown
        as the push writes it was given or taken away by us.
        """
        seen = self.seen
        if self.pushing is not None and now.timestamp() < self.pushing_since + WRITE_SECONDS:
            not_ours = shown ^ self.pushing
            seen = (seen & not_ours) | (shown - not_ours)
        # As answered: confirmed. Not so within the hour: may be on its way. Later: rolled back.
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
        """An answer or a push carries these roles to where others were shown."""
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
        """Something was changed here of which no answer tells."""
        return replace(self, pending=True)

    def unanswered(self, before: AtIdentity) -> AtIdentity:
        """The answer that this follows from goes nowhere: what was to be told before still is.

        Args:
            before: the same before that answer was worked out.
        """
        return replace(
            self, pending=True, pushing=before.pushing, pushing_since=before.pushing_since
        )

    def push_begun(self, roles: frozenset[str], shown: frozenset[str], now: datetime) -> AtIdentity:
        """A push begins to write these roles where others were shown."""
        told = self.told(roles, shown, now)
        return replace(told, pushing=roles, pushing_since=int(now.timestamp()))

    def settled(self, *, look_again: bool = False) -> AtIdentity:
        """Identity was told, and nothing is being written any more.

        Args:
            look_again: something may undo it, or is left to tell.
        """
        return replace(self, pending=look_again, pushing=None, pushing_since=0)

    def may_be_undone(self, now: datetime) -> bool:
        """Whether an answer may still be on its way, which would replace what a push writes."""
        young = int(now.timestamp()) - IN_FLIGHT_SECONDS
        return any(at > young for at in (*self.sent.values(), *self.withdrawn.values()))

    def answered_since(self, earlier: AtIdentity) -> bool:
        """Whether an event was answered with other roles than it showed since ``earlier``."""
        return _newer(self.sent, earlier.sent) or _newer(self.withdrawn, earlier.withdrawn)

    def document(self) -> dict[str, Any]:
        """As JSON."""
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
        """Out of JSON."""
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
"""Of somebody whom no event or answer has shown."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What one look at Identity's roles shows.

    Attributes:
        at_identity: what is noted from now on.
        added, removed: what people changed there since the look before.
    """

    at_identity: AtIdentity
    added: AbstractSet[str]
    removed: AbstractSet[str]


def _newer(notes: Mapping[str, int], earlier: Mapping[str, int]) -> bool:
    return any(earlier.get(role) != at for role, at in notes.items())
