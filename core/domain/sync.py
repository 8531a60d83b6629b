"""One account at Identity against its record: comparing, and taking over. Pure.

The admin API tells what holds now, but not since when. So ``order`` stays, and any later event is
newer. The policy is asked again where its input has changed.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from usher.core.domain.decide import admit, applicant, by_policy, first_look, newcomer
from usher.core.domain.events import EventName, IdentityUser, email_key
from usher.core.domain.policy import Policy
from usher.core.domain.proof import proves
from usher.core.domain.push import patch_for
from usher.core.domain.records import AuditEntry, Status, User, audit
from usher.core.domain.roles import take_over
from usher.core.domain.sync_plan import UNREADABLE, Plan, Trouble, Unreadable
from usher.core.domain.written import over, untold_keys
from usher.core.strict_json import equal

ACTOR: Final = "sync"


class Kind(StrEnum):
    """The kinds of differences; docs/sync.md describes each."""

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
    ROLES_UNREADABLE = "roles_unreadable"
    UNREADABLE = UNREADABLE


PULLED: Final = frozenset(
    {Kind.MISSING_HERE, Kind.EMAIL, Kind.METADATA, Kind.STATUS, Kind.ROLES_THERE}
)
"""Mended here, from the account."""
PUSHED: Final = frozenset({Kind.ROLES_HERE, Kind.SUSPENDED, Kind.KEYS})
"""Mended at Identity, from the record. The other kinds are removals, and what cannot be read."""


def compare(person: IdentityUser, record: User | None, now: datetime) -> tuple[Kind, ...]:
    """The differences of an account and the record of the same id, in a fixed order.

    The three-way merge splits those of roles: people's changes there since our last look
    (``roles_there``), and the roles that Identity lacks or has too many after that
    (``roles_here``).
    """
    if record is None:
        return (Kind.MISSING_HERE,)
    if record.status is Status.DELETED:
        return (Kind.DELETED_HERE,)
    found = []
    if person.email != record.email:
        found.append(Kind.EMAIL)
    held = {key: v for key, v in (person.app_metadata or {}).items() if key != "roles"}
    of_person = over(record.written, person.user_metadata or {}, now)
    if not equal(of_person, record.user_metadata) or not equal(held, record.app_metadata):
        found.append(Kind.METADATA)
    if person.confirmed_at and not record.confirmed_at:
        found.append(Kind.STATUS)
    merged = take_over(record, person.held_roles, now).grants
    if set(merged) != set(record.grants):  # sets: databases sort by their locale
        found.append(Kind.ROLES_THERE)
    patch = patch_for(replace(record, grants=merged), person, now)
    if "roles" in patch:
        suspended = record.status is Status.SUSPENDED
        found.append(Kind.SUSPENDED if suspended else Kind.ROLES_HERE)
    if (patch.keys() - {"roles"} and person.shows_keys) or untold_keys(record.written):
        found.append(Kind.KEYS)
    return tuple(found)


def adopt(
    instance_id: UUID, person: IdentityUser, record: User | None, policy: Policy, now: datetime
) -> User:
    """The record with the account taken over; a tombstone stays one.

    Nobody is refused, for the owner of an account was let in already; the policy may ask for an
    administrator's approval.

    Args:
        record: None for an unknown user, who gets the policy's roles once confirmed.

    Raises:
        PolicyError: only from a callable policy that breaks its contract.
    """
    if record is not None and record.status is Status.DELETED:
        return record
    user = _absorb(instance_id, person, record, now)
    # One who waits is let in by an event or an administrator, never by a sync.
    waits = record is not None and record.waiting_since is not None
    if (
        user.confirmed_at
        and not waits
        and (record is None or _policy_may_differ(record, user, now))
    ):
        if record is None or not record.confirmed_at:
            verdict = first_look(person, user, policy, now)
            user = admit(record, user, verdict, now)
        else:
            verdict = policy.evaluate(applicant(EventName.LOGIN, user, now))
        if user.waiting_since is None:
            user = replace(user, grants=by_policy(user.grants, verdict, policy, now))
    grants = user.grants
    user = take_over(user, person.held_roles, now)
    # Databases sort grants by their locale, so another order is no change.
    return replace(user, grants=grants) if set(user.grants) == set(grants) else user


class Mending:
    """The changes and counts from comparing some accounts.

    Args:
        policy: None where nothing is mended here.

    Attributes:
        found, mended: counts of differences, by kind.
        entries: of the audit.
        told: users with a change to push.
        odd: accounts whose roles cannot all be read.
    """

    def __init__(self, plan: Plan, policy: Policy | None, now: datetime) -> None:
        self._plan = plan
        self._policy = policy
        self._now = now
        self.found: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self.entries: list[AuditEntry] = []
        self.told: list[User] = []
        self.odd: list[Unreadable] = []

    def mend(
        self,
        instance_id: UUID,
        person: IdentityUser,
        record: User | None,
        kinds: tuple[Kind, ...],
    ) -> User | None:
        """The mended record, its counts, entry and push noted; None where nothing changes."""
        user = record
        if self._policy is not None:
            user = adopt(instance_id, person, record, self._policy, self._now)
            # The policy may give a newcomer roles that Identity lacks.
            left = compare(person, user, self._now)
            kinds = (*kinds, *(kind for kind in left if kind not in kinds))
            self.mended.update(kind.value for kind in kinds if kind in PULLED)
            if not equal(user, record):
                user = self._audited(record, user)
        self.found.update(kind.value for kind in kinds)
        if (why := person.held_roles.unreadable) and Kind.DELETED_HERE not in kinds:
            self.found[Kind.ROLES_UNREADABLE.value] += 1
            self.odd.append(Unreadable(str(person.id), 0, Trouble.ROLES, why))
        pushed = [kind.value for kind in kinds if kind in PUSHED] if self._plan.push else []
        if user is not None and pushed:
            self.mended.update(pushed)
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
        user_metadata=over(user.written, profile.user_metadata, now),
        app_metadata=profile.app_metadata,
        identity_created_at=user.identity_created_at or profile.identity_created_at,
        confirmed_at=user.confirmed_at or person.confirmed_at,
        proven=user.proven | proven,
        invited=user.invited or profile.invited,
    )


def _policy_may_differ(before: User, after: User, now: datetime) -> bool:
    """Whether the policy's input about a confirmed account differs."""
    asked = EventName.LOGIN
    if not before.confirmed_at:
        return True
    return not equal(applicant(asked, before, now), applicant(asked, after, now))
