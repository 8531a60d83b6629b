"""The Identity instance in use, and the decision on events of others. Pure.

Everybody who must know which instance is meant asks ``KnownInstances``. One can be chosen now; the
set is there so that several can be, later.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from usher.core.domain.events import EventName
from usher.core.domain.policy import Reason
from usher.core.domain.records import Decision, Outcome
from usher.core.domain.reply import NO_CONTENT, Reply
from usher.core.errors import (
    Check,
    InstanceUnknownError,
    SeveralInstancesError,
    SignatureError,
)

OTHER: Final = Reason("instance.other", "of another Identity instance than the one in use")
_REFUSED: Final = Reply.refusing(SignatureError(Check.CLAIM_SUB))
_LETS_IN: Final = frozenset({EventName.VALIDATE, EventName.SIGNUP, EventName.LOGIN})


class How(StrEnum):
    """How the instance in use was chosen; of ``RECORDS`` and ``NOT`` nothing is settled yet."""

    SETTING = "setting"  # USHER_INSTANCE_ID
    EVENT = "event"  # adopted: the first live event named it
    UPGRADE = "upgrade"  # adopted by the migration: all records were of one instance
    RECORDS = "records"  # not chosen; records of it, or of several, are there
    NOT = "not"  # neither chosen nor on record


class KnownInstances(Struct, frozen=True, gc=False):
    """The known Identity instances of one database.

    Attributes:
        accepted: those whose events are taken; empty: nothing is known. It holds more than one
            only where none is chosen, and an older version has kept records of several.
    """

    accepted: frozenset[UUID] = frozenset()
    how: How = How.NOT

    @property
    def chosen(self) -> bool:
        """Whether the setting or an adoption says which instance is in use."""
        return self.how not in (How.RECORDS, How.NOT)

    def names(self, instance_id: UUID) -> bool:
        """Whether a live event of an instance is what says which one is in use, if none did yet."""
        return instance_id in self.accepted if self.chosen else len(self.accepted) < 2

    def takes(self, instance_id: UUID) -> bool:
        """Whether events of an instance are ours."""
        for one in self.accepted:
            if one.int == instance_id.int:  # Python hashes a UUID slowly
                return True
        return not self.accepted

    def first(self, instance_id: UUID) -> KnownInstances:
        """The known ones after an event of this instance was taken without an adoption."""
        return self if self.accepted else KnownInstances(frozenset((instance_id,)), How.RECORDS)

    @property
    def one(self) -> UUID | None:
        """The instance in use, or else the only one on record; None: nothing is known.

        Raises:
            SeveralInstancesError: the records are of several, and none is chosen.
        """
        if len(self.accepted) > 1:
            raise SeveralInstancesError(tuple(sorted(map(str, self.accepted))))
        return next(iter(self.accepted), None)

    def settled(self) -> UUID:
        """The instance that new records are of.

        Raises:
            InstanceUnknownError: neither a live event nor the setting has named one.
            SeveralInstancesError: the records are of several, and none is chosen.
        """
        found = self.one
        if found is None or not self.chosen:
            raise InstanceUnknownError
        return found


def of_other_instance(name: EventName | None) -> Decision:
    """The decision on an event of another instance: nobody enters by it, and nothing is written.

    Nobody may be let in where the choice is wrong, so that it is noticed. For the other events
    Identity only logs a refusal.

    Args:
        name: None: an event that Usher does not know.
    """
    reply = _REFUSED if name in _LETS_IN else NO_CONTENT
    return Decision(Outcome.IGNORED, None, reply, (OTHER,))
