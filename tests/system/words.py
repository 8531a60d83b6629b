"""The last clear word of administrators here on each role, which must hold whatever happens."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from tests.system.model import Model
from tests.system.person import landed

GIVEN = frozenset(("editor", "author"))
"""Roles that no policy gives: only people do."""


class Words:
    """What was said.

    Attributes:
        said: whether somebody shall have a role.
        there: changes by people at Identity that no look has shown yet. Nobody can tell whether
            they are older or newer than what is said here meanwhile.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.said: dict[tuple[UUID, str], bool] = {}
        self.there: dict[tuple[UUID, str], bool] = {}

    def say(self, who: UUID, before: set[str], action: str, path: str, now: datetime) -> None:
        """An administrator here has done something.

        Args:
            before: the roles before it.
        """
        self._look()
        person = self.model.people[who]
        after = person.roles(now)
        for role in GIVEN:
            granted = action == "role.granted" and path.endswith("/" + role)
            if (role in before) is not (role in after) or granted:
                self.said[who, role] = role in after
            ends = person.words.get((role, "administrator"), (False, None))[1] is not None
            if ends or (who, role) in self.there:
                self.said.pop((who, role), None)

    def unsay(self, who: UUID, held: set[str], roles: set[str]) -> bool:
        """Somebody at Identity changes roles there, and has the last word on them.

        A role taken away there may undo what an answer did, or that answer never came. What it
        says of other roles is unclear then.

        Returns:
            Whether an answer on its way would do the very same, so that nobody can tell.
        """
        changed, imitates = (held ^ roles) & GIVEN, False
        unclear = set(changed)
        person = self.model.people.get(who)
        for _, _, before, told, _, _ in person.flying if person else ():
            if told is not None:
                imitates = imitates or landed(before, told, frozenset(roles))
                unclear |= GIVEN - told if (held - roles) & (told - before) else set()
        for role in unclear:
            self.said.pop((who, role), None)
        self.there |= {(who, role): role in roles for role in changed}
        return imitates

    def _look(self) -> None:
        """Forget changes at Identity that have been seen."""
        for (who, role), given in list(self.there.items()):
            person = self.model.people.get(who)
            if person is not None and (role in person.seen) is given:
                del self.there[who, role]

    def check(self, now: datetime) -> None:
        """No role that was taken away here is back, and none that was given here is lost."""
        self._look()
        for (who, role), given in list(self.said.items()):
            person = self.model.people.get(who)
            if person is None or person.deleted:
                del self.said[who, role]
            else:
                assert (role in person.roles(now)) is given, (who, role, given)
