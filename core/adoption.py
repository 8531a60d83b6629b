"""Identity's word about one account, taken over outside any event, as ``usher sync`` does. Pure.

The admin API answers what holds now, but not since when: so ``order`` stays, and any event that
comes later is newer. Policy grants are worked out where what the policy looks at has changed.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import UUID

from core.events import EventName, IdentityUser, email_key
from core.lifecycle import applicant, newcomer, proves
from core.policy import Policy
from core.records import Status, User
from core.roles import follow_policy, take_over


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
