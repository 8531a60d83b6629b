"""Observe mode: every event is answered 204, and the ledger says what the answer would be. Pure.

The records are kept as ever, by what Identity was really told. So a person whom the policy refuses
gets their account there, and a record here at their first login.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct

from usher.core.domain.held_roles import read_roles
from usher.core.domain.policy import Reason
from usher.core.domain.records import Source, Status, User
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective
from usher.core.errors import DeniedError
from usher.core.strict_json import loads_object

RULE: Final = "observe.answer"
MOST_NAMED: Final = 20
"""Roles that a reason names."""


def note(reply: Reply) -> Reason:
    """The reason that names the answer in whose place 204 was given."""
    return Reason(RULE, f"204 in observe mode; live: {_in_words(reply)}")


def _in_words(reply: Reply) -> str:
    """A reply without anything of ``app_metadata`` but roles: reasons outlive the person."""
    told = reply.app_metadata
    if told is None:
        document = loads_object(reply.body.encode()) if reply.body else {}
        key = "detail" if document.get("code") == DeniedError.code else "code"
        return f"{reply.status} {document.get(key, '')}".rstrip()
    roles = sorted(read_roles(told.get("roles")).names)
    named = ", ".join(roles[:MOST_NAMED])
    more = f" and {len(roles) - MOST_NAMED} more" if len(roles) > MOST_NAMED else ""
    return f"200 with the roles {named}{more}" if roles else "200 without roles"


class Change(StrEnum):
    """A change that live answers would make for a person with an account at Identity."""

    REFUSED = "refused"
    """Their next login is refused."""
    GAINS = "gains"
    LOSES = "loses"
    KEEPS = "keeps"
    """A role that Identity alone gives: no rule, administrator or handler here does."""


class Effect(Struct, frozen=True):
    """One change for one person; ``role`` is empty where they are refused."""

    change: Change
    role: str = ""


def effects(user: User, now: datetime) -> tuple[Effect, ...]:
    """The changes that live answers would make for one person, compared with Identity's roles.

    None for a person without an account.
    """
    if user.status in (Status.PENDING, Status.DELETED):
        return ()
    if user.status is Status.SUSPENDED:
        return (Effect(Change.REFUSED),)
    holds = effective(user.grants, now)
    there = user.at_identity.expected
    own = {
        grant.role
        for grant in user.grants
        if grant.source is not Source.IDENTITY and not grant.denies and grant.holds(now)
    }
    return (
        *(Effect(Change.GAINS, role) for role in sorted(holds - there)),
        *(Effect(Change.LOSES, role) for role in sorted(there - holds)),
        *(Effect(Change.KEEPS, role) for role in sorted((there & holds) - own)),
    )
