"""An account at Identity and its record here: in what they differ, and who mends it. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from core.events import IdentityUser
from core.pushing import patch_for
from core.records import Status, User
from core.roles import take_over


class Kind(StrEnum):
    """What differs; docs/sync.md describes each."""

    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    DELETED_HERE = "deleted_here"
    EMAIL = "email"
    METADATA = "metadata"
    STATUS = "status"
    ROLES_THERE = "roles_there"
    ROLES_HERE = "roles_here"
    SUSPENDED = "suspended"
    KEYS = "keys"


PULLED: Final = frozenset(
    {Kind.MISSING_HERE, Kind.EMAIL, Kind.METADATA, Kind.STATUS, Kind.ROLES_THERE}
)
"""What is mended here, by what Identity says."""
PUSHED: Final = frozenset({Kind.ROLES_HERE, Kind.SUSPENDED, Kind.KEYS})
"""What is mended there, by what is on record here; the rest are removals."""


def compare(person: IdentityUser, record: User | None, now: datetime) -> tuple[Kind, ...]:
    """In what an account at Identity and the record of the same id differ, in a fixed order.

    Roles are told apart by the three-way merge: what people changed there since we last looked
    (``roles_there``), and what Identity lacks or has too much after that (``roles_here``).
    """
    if record is None:
        return (Kind.MISSING_HERE,)
    if record.status is Status.DELETED:
        return (Kind.DELETED_HERE,)
    found = []
    if person.email != record.email:
        found.append(Kind.EMAIL)
    told = {key: v for key, v in (person.app_metadata or {}).items() if key != "roles"}
    if (person.user_metadata or {}) != record.user_metadata or told != record.app_metadata:
        found.append(Kind.METADATA)
    if person.confirmed_at and not record.confirmed_at:
        found.append(Kind.STATUS)
    merged = take_over(record, person.roles, now).grants
    if set(merged) != set(record.grants):  # databases sort them as their language does
        found.append(Kind.ROLES_THERE)
    patch = patch_for(replace(record, grants=merged), person, now)
    if "roles" in patch:
        suspended = record.status is Status.SUSPENDED
        found.append(Kind.SUSPENDED if suspended else Kind.ROLES_HERE)
    if patch.keys() - {"roles"}:
        found.append(Kind.KEYS)
    return tuple(found)
