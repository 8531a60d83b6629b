"""Identity's word about one account outside any event: what differs, and taking it over. Pure.

The admin API answers what holds now, but not since when: so ``order`` stays, and any event that
comes later is newer. Policy grants are worked out where what the policy looks at has changed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from usher.core.domain.decide import applicant, newcomer, proves
from usher.core.domain.events import EventName, IdentityUser, email_key
from usher.core.domain.policy import Policy
from usher.core.domain.push import patch_for
from usher.core.domain.records import AuditEntry, Status, User, audit
from usher.core.domain.roles import follow_policy, take_over
from usher.core.domain.sync_plan import Plan

ACTOR: Final = "sync"


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


class Mending:
    """What comparing some accounts changes, and the counts of it.

    Args:
        policy: None where nothing is mended here.

    Attributes:
        found, mended: how many differences, by kind.
        entries: of the audit.
        told: users of whom Identity must be told now.
    """

    def __init__(self, plan: Plan, policy: Policy | None, now: datetime) -> None:
        self._plan = plan
        self._policy = policy
        self._now = now
        self.found: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self.entries: list[AuditEntry] = []
        self.told: list[User] = []

    def mend(
        self,
        instance_id: UUID,
        person: IdentityUser,
        record: User | None,
        kinds: tuple[Kind, ...],
    ) -> User | None:
        """The record as it shall be, and everything that follows; None where nothing changes."""
        user = record
        if self._policy is not None:
            user = adopt(instance_id, person, record, self._policy, self._now)
            # What the policy gives a newcomer may be more than Identity has.
            rest = compare(person, user, self._now)
            kinds = (*kinds, *(kind for kind in rest if kind not in kinds))
            self.mended.update(kind.value for kind in kinds if kind in PULLED)
            if user != record:
                user = self._audited(record, user)
        self.found.update(kind.value for kind in kinds)
        told = [kind.value for kind in kinds if kind in PUSHED] if self._plan.push else []
        if user is not None and told:
            self.mended.update(told)
            user = replace(user, at_identity=user.at_identity.marked_pending())
            self.told.append(user)
        return None if user is record else user

    def _audited(self, record: User | None, user: User) -> User:
        action = "user.changed" if record else "user.created"
        entry = audit(action, ACTOR, record, user, self._now, "found at Identity by a sync")
        if entry is None:
            return user
        self.entries.append(entry)
        if record is None:
            return user
        return replace(user, updated_at=self._now, version=record.version + 1)


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
