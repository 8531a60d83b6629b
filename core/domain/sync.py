"""Identity's word about one account outside any event: what differs, and taking it over. Pure.

The admin API answers what holds now, but not since when: so ``order`` stays, and any event that
comes later is newer. Policy grants are worked out where what the policy looks at has changed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from usher.core.domain.decide import applicant, newcomer, proves
from usher.core.domain.events import EventName, IdentityUser, email_key
from usher.core.domain.policy import Policy
from usher.core.domain.push import patch_for
from usher.core.domain.records import Status, User
from usher.core.domain.roles import follow_policy, take_over


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


def adopt(
    instance_id: UUID, person: IdentityUser, record: User | None, policy: Policy, now: datetime
) -> User:
    """The record after Identity's answer; a tombstone stays one.

    Nobody is asked for admission: who has an account was let in already.

    Args:
        record: None for somebody never seen here, who then gets the policy's roles.

    Raises:
        PolicyError: only from a callable policy that breaks its contract.
    """
    if record is not None and record.status is Status.DELETED:
        return record
    user = _absorb(instance_id, person, record, now)
    grants = user.grants
    if user.confirmed_at and (record is None or _policy_may_differ(record, user)):
        verdict = policy.evaluate(applicant(EventName.LOGIN, user))
        grants = follow_policy(grants, verdict.roles, policy.fingerprint, now)
    user = take_over(replace(user, grants=grants), person.roles, now)
    # Databases sort them as their language does: another order is no change.
    return replace(user, grants=grants) if set(user.grants) == set(grants) else user


def _absorb(instance_id: UUID, person: IdentityUser, record: User | None, now: datetime) -> User:
    profile = newcomer(instance_id, person, now)
    user = record or profile
    proven = {email_key(person.email)} if proves(EventName.USERMODIFIED, person) else set()
    return replace(
        user,
        email=profile.email,
        email_key=profile.email_key,
        provider=profile.provider,
        user_metadata=profile.user_metadata,
        app_metadata=profile.app_metadata,
        identity_created_at=user.identity_created_at or profile.identity_created_at,
        confirmed_at=user.confirmed_at or person.confirmed_at,
        proven=user.proven | proven,
    )


def _policy_may_differ(before: User, after: User) -> bool:
    """Whether anything differs that ``applicant`` tells a policy of a confirmed account."""
    asked = EventName.LOGIN
    return not before.confirmed_at or applicant(asked, before) != applicant(asked, after)
