"""The book: codes and tallies as a batch of events finds them, and as its decisions leave them.

The store fills a book before the first decision and writes it after the last. In between people of
one batch compete as those of several batches do. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import replace

from usher.core.domain.codes import Code, CodeState, digest_of, given_code
from usher.core.domain.counting import NOTHING, Counting, Counts, Uses
from usher.core.domain.events import Event, EventName, email_key, split_address
from usher.core.domain.policy import Reason
from usher.core.domain.quotas import Place
from usher.core.domain.records import Decision, Grant, Key, Source
from usher.core.domain.roles import too_many, with_grant

USABLE: Final = frozenset((CodeState.OPEN, CodeState.OWN))
ASKING: Final = (EventName.VALIDATE, EventName.SIGNUP)
"""The events at which somebody asks to enter."""


class Book(Struct):
    """The codes and tallies that a batch meets, as they stand after the decisions so far.

    Attributes:
        codes: by digest; a digest that is missing is of no code.
        used: the codes that accounts have used: (id of the code, key of the account).
        tallies: the people counted so far; a place that is missing has none.
        new_uses, new_places: what the decisions of this batch added.
        refused: how often somebody gave a code that cannot be used.
    """

    counting: Counting
    codes: dict[str, Code] = field(default_factory=dict)
    used: set[tuple[UUID, Key]] = field(default_factory=set)
    tallies: dict[Place, int] = field(default_factory=dict)
    new_uses: list[tuple[Code, Key]] = field(default_factory=list)
    new_places: dict[Place, int] = field(default_factory=dict)
    refused: int = 0

    def counts(self, event: Event) -> Counts:
        """The counts of an event, as far as the policy may know them."""
        if event.name not in ASKING:
            return NOTHING
        quota, place = self.counting.per_domain, place_of(event, self.counting)
        full = False
        if quota is not None and place is not None:
            full = self.tallies.get(place, 0) >= quota.people
        code, state = self._code(event)
        return Counts(code, state, place, full)

    def note(self, event: Event, counts: Counts, decision: Decision) -> None:
        """Take in what a decision uses up, and whether a code was no good."""
        if counts.state is not None and counts.state not in USABLE:
            self.refused += 1
        if decision.uses is not None:
            self.use(event, decision.uses)

    def use(self, event: Event, uses: Uses) -> None:
        """Take in what an event uses up."""
        if uses.code is not None:
            self.codes[uses.code.digest] = replace(uses.code, used=uses.code.used + 1)
            self.used.add((uses.code.id, event.key))
            self.new_uses.append((uses.code, event.key))
        if uses.place is not None:
            self.tallies[uses.place] = self.tallies.get(uses.place, 0) + 1
            self.new_places[uses.place] = self.new_places.get(uses.place, 0) + 1

    def _code(self, event: Event) -> tuple[Code | None, CodeState | None]:
        given = given_code(event.user.user_metadata, self.counting.code_key)
        if given is None:
            return None, None
        code = self.codes.get(digest_of(given))
        if code is None:
            return None, CodeState.UNKNOWN
        if (code.id, event.key) in self.used:
            return code, CodeState.OWN
        return code, code.state(event.issued_at)


def gives_code(event: Event, counting: Counting) -> bool:
    """Whether somebody who asks to enter gives something as a code."""
    if event.name not in ASKING:
        return False
    return given_code(event.user.user_metadata, counting.code_key) is not None


def digests_in(events: Iterable[Event], counting: Counting) -> set[str]:
    """The digests of the codes that people gave in these events."""
    given = (
        digest_of(given_code(event.user.user_metadata, counting.code_key))
        for event in events
        if gives_code(event, counting)
    )
    return {digest for digest in given if digest}


def places_in(events: Iterable[Event], counting: Counting) -> set[Place]:
    """The places in which the people of these events are counted."""
    found = (place_of(event, counting) for event in events if event.name in ASKING)
    return {place for place in found if place is not None}


def place_of(event: Event, counting: Counting) -> Place | None:
    """Where the person of an event is counted; None: no quota counts.

    The window is that of the account's creation, which is the same in all its events. Addresses
    that cannot be read are counted together. Invited people count too: their ``validate`` does not
    say that they are invited.
    """
    person, quota = event.user, counting.per_domain
    if quota is None:
        return None
    at = person.created_at.timestamp() if person.created_at else event.issued_at
    _, domain = split_address(email_key(person.email))
    return Place(event.instance_id, domain, quota.seconds, quota.window(at))


def give_roles(
    grants: tuple[Grant, ...], code: Code, now: datetime
) -> tuple[tuple[Grant, ...], tuple[Reason, ...]]:
    """The grants with those of a code that is used, as an administrator's, and the reasons.

    An administrator's own word about a role stays, and every denial holds.
    """
    used = Reason("code.used", f"used the invitation code {code.id}")
    if not code.roles:
        return grants, (used,)
    said = {each.role for each in grants if each.source is Source.ADMINISTRATOR}
    given, actor = grants, f"code:{code.id}"
    for role in code.roles:
        if role not in said:
            new = Grant(role, Source.ADMINISTRATOR, now, actor=actor, expires_at=code.roles_until)
            given = with_grant(given, new)
    if problem := too_many(given):
        return grants, (used, Reason("code.roles", f"it gives none of its roles: {problem}"))
    roles = ", ".join(repr(role) for role in code.roles)
    return given, (used, Reason("code.roles", f"it gives {roles}"))
