"""Administrators' changes to one record: pure functions from a record to a record."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from usher.core.bounds import MAX_ROLE_CHARACTERS
from usher.core.domain.decide import applicant, by_policy, tombstone
from usher.core.domain.events import EventName
from usher.core.domain.held_roles import is_role
from usher.core.domain.policy import Policy, listed, reserved_keys
from usher.core.domain.records import Grant, Source, Status, User
from usher.core.domain.roles import effective, too_many, with_grant, without
from usher.core.errors import (
    MetadataInvalidError,
    PreconditionFailedError,
    RoleInvalidError,
    UserDeletedError,
    UserNotWaitingError,
    UserWaitingError,
)
from usher.core.strict_json import cannot_travel

FOR_GOOD: Final = datetime(9999, 1, 1, tzinfo=UTC)


class Change(Struct, frozen=True, gc=False):
    """The actor, reason and condition of a change.

    Attributes:
        actor: as in the audit: ``cli:…`` or ``user:<id>``.
        version: the version that the record must have, or several of which it must have one
            (``If-Match``); None: any.
        force: allow a change that leaves the site without an administrator.
        known: Identity has the change already, so nothing is pushed.
        by_machine: the administrators' role must stay as it is.
    """

    actor: str
    reason: str = ""
    version: int | frozenset[int] | None = None
    force: bool = False
    known: bool = False
    by_machine: bool = False

    def check(self, current: User | None) -> None:
        """Require the record to have the version that the change names.

        Raises:
            PreconditionFailedError: it has another version, or there is no record.
        """
        found = current.version if current else None
        wanted = self.version if isinstance(self.version, frozenset) else {self.version}
        if self.version is not None and found not in wanted:
            raise PreconditionFailedError(found or 0)


class Command(Struct, frozen=True, gc=False):
    """One change to a record, with its arguments bound.

    Attributes:
        action: its name in the audit.
        apply: returns the changed record; raises where the change is not possible.
    """

    action: str
    apply: Callable[[User, Change, datetime], User]


# --- the commands --------------------------------------------------------------------------------


def grant(role: str, *, expires_at: datetime | None = None) -> Command:
    """Give a role (see ``grant_role``)."""
    return Command(
        "role.granted",
        lambda user, change, now: grant_role(
            user, role, actor=change.actor, now=now, reason=change.reason, expires_at=expires_at
        ),
    )


def revoke(role: str) -> Command:
    """Take a role away (see ``revoke_role``)."""
    return Command(
        "role.revoked",
        lambda user, change, now: revoke_role(
            user, role, actor=change.actor, now=now, reason=change.reason
        ),
    )


def set_roles(roles: Collection[str]) -> Command:
    """Make these the user's roles (see ``replace_roles``)."""
    return Command(
        "roles.set",
        lambda user, change, now: replace_roles(
            user, roles, actor=change.actor, now=now, reason=change.reason
        ),
    )


def approve(
    policy: Policy, roles: Collection[str] = (), *, expires_at: datetime | None = None
) -> Command:
    """Let a waiting user in (see ``approve_user``)."""
    return Command(
        "user.approved",
        lambda user, change, now: approve_user(
            user,
            policy,
            roles,
            actor=change.actor,
            now=now,
            reason=change.reason,
            expires_at=expires_at,
        ),
    )


def suspend() -> Command:
    """Shut a user out until reactivated (see ``suspend_user``)."""
    return Command("user.suspended", lambda user, _, now: suspend_user(user, now=now))


def reactivate() -> Command:
    """Let a suspended user in again (see ``reactivate_user``)."""
    return Command("user.reactivated", lambda user, *_: reactivate_user(user))


def edit(
    *,
    suspended: bool | None = None,
    profile: Mapping[str, Any] | None = None,
    app_metadata: Mapping[str, Any] | None = None,
) -> Command:
    """Combine several changes in one; None leaves a part as it is.

    Args:
        profile: a merge patch (see ``edit_profile``).
        app_metadata: a merge patch (see ``edit_app_metadata``).
    """
    status = None if suspended is None else suspend() if suspended else reactivate()
    if status is not None and profile is None and app_metadata is None:
        return status

    def apply(user: User, change: Change, now: datetime) -> User:
        if profile is not None:
            user = edit_profile(user, profile)
        if app_metadata is not None:
            user = edit_app_metadata(user, app_metadata)
        return user if status is None else status.apply(user, change, now)

    return Command("user.changed", apply)


def delete() -> Command:
    """Leave a tombstone. This cannot be undone."""
    return Command(
        "user.deleted",
        lambda user, _, now: user if user.deleted_at else tombstone(user, now),
    )


# --- their effects -------------------------------------------------------------------------------


def grant_role(
    user: User,
    role: str,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
    expires_at: datetime | None = None,
) -> User:
    """Give a role: add an administrator's grant, and lift every denial of the role.

    Raises:
        RoleInvalidError: not a role's name, or one grant over ``MAX_GRANTS``.
        UserDeletedError: the record is a tombstone.
        UserWaitingError: the user waits for approval.
    """
    _refuse_deleted(user)
    if user.waiting_since is not None:
        raise UserWaitingError
    if not is_role(role):
        raise RoleInvalidError(
            f"{role[:40]!r} cannot be a role: 1 to {MAX_ROLE_CHARACTERS} printable characters, "
            "no space at either end."
        )
    grants = tuple(g for g in user.grants if not (g.role == role and g.denies))
    new = Grant(role, Source.ADMINISTRATOR, now, actor=actor, reason=reason, expires_at=expires_at)
    held = _administrators_grant(user, role)
    if (
        held
        and replace(held, created_at=now, actor=actor) == new
        and len(grants) == len(user.grants)
    ):
        return user  # an equal grant is there already
    grants = with_grant(grants, new)
    if problem := too_many(grants):
        raise RoleInvalidError(f"{problem[0].upper()}{problem[1:]}.")
    return replace(user, grants=grants)


def revoke_role(user: User, role: str, *, actor: str, now: datetime, reason: str = "") -> User:
    """Take a role away: end people's grants of it, and deny it where policy or handler grant it.

    Raises:
        UserDeletedError: the record is a tombstone.
    """
    _refuse_deleted(user)
    grants = without(user.grants, role, Source.ADMINISTRATOR, Source.IDENTITY)
    held = _administrators_grant(user, role)
    if held and held.denies:
        grants = with_grant(grants, held)
    elif any(g.role == role for g in grants):
        denial = Grant(role, Source.ADMINISTRATOR, now, denies=True, actor=actor, reason=reason)
        grants = with_grant(grants, denial)
    return replace(user, grants=grants)


def replace_roles(
    user: User, roles: Collection[str], *, actor: str, now: datetime, reason: str = ""
) -> User:
    """Make these the user's effective roles: grant missing ones, revoke all others.

    Raises:
        RoleInvalidError, UserWaitingError: see ``grant_role``.
        UserDeletedError: the record is a tombstone.
    """
    _refuse_deleted(user)
    held = effective(user.grants, now)
    for role in sorted(held.difference(roles)):
        user = revoke_role(user, role, actor=actor, now=now, reason=reason)
    for role in sorted(set(roles) - held):
        user = grant_role(user, role, actor=actor, now=now, reason=reason)
    return user


def approve_user(
    user: User,
    policy: Policy,
    roles: Collection[str] = (),
    *,
    actor: str,
    now: datetime,
    reason: str = "",
    expires_at: datetime | None = None,
) -> User:
    """Let a waiting user in, with the policy's roles of now and these of the administrator.

    Args:
        expires_at: the end of the administrator's roles.

    Raises:
        UserNotWaitingError: the user does not wait, or is suspended.
        RoleInvalidError: see ``grant_role``.
        PolicyError: only from a callable policy that breaks its contract.
    """
    if user.status is not Status.WAITING:
        raise UserNotWaitingError(user.status.value)
    verdict = policy.evaluate(applicant(EventName.LOGIN, user, now))
    grants = by_policy(user.grants, verdict, policy, now)
    user = replace(user, waiting_since=None, grants=grants)
    for role in sorted(set(roles)):
        user = grant_role(user, role, actor=actor, now=now, reason=reason, expires_at=expires_at)
    return user


def edit_profile(user: User, patch: Mapping[str, Any]) -> User:
    """Apply a merge patch (RFC 7396) to the person's own profile; a null removes a key.

    Raises:
        MetadataInvalidError: the profile would be over ``MAX_WRITTEN_BYTES``.
        UserDeletedError: the record is a tombstone.
    """
    _refuse_deleted(user)
    return replace(user, profile=_within_limit("profile", merge_patch(user.profile, patch)))


def edit_app_metadata(user: User, patch: Mapping[str, Any]) -> User:
    """Apply a merge patch to the keys added to every reply; a null removes one at Identity too.

    Raises:
        MetadataInvalidError: over ``MAX_WRITTEN_BYTES``, or with a reserved key.
        UserDeletedError: the record is a tombstone.
    """
    _refuse_deleted(user)
    old = user.extra_app_metadata
    taken_out = {key for key in old if key in patch and patch[key] is None}
    if reserved := reserved_keys(patch) - taken_out:
        raise MetadataInvalidError(
            f"{listed(reserved)} of app_metadata cannot be set here; roles are given at …/roles."
        )
    # A null stays on record: it removes the key from every reply, so Identity drops it too.
    new = {key: merge_patch(old.get(key), value) for key, value in patch.items()}
    return replace(user, extra_app_metadata=_within_limit("app_metadata", {**old, **new}))


def merge_patch(target: Any, patch: Any) -> Any:
    """JSON Merge Patch (RFC 7396, section 2)."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def end_grants(user: User, now: datetime) -> User:
    """Remove expired grants and denials from the record; effective roles stay the same."""
    return replace(user, grants=tuple(grant for grant in user.grants if grant.holds(now)))


def suspend_user(user: User, *, now: datetime) -> User:
    """Shut a user out until reactivated; grants and profile stay.

    Raises:
        UserDeletedError: the record is a tombstone.
    """
    _refuse_deleted(user)
    return user if user.suspended_at else replace(user, suspended_at=now)


def reactivate_user(user: User) -> User:
    """Let a suspended user in again: pending, waiting or active as before.

    Raises:
        UserDeletedError: the record is a tombstone.
    """
    _refuse_deleted(user)
    return replace(user, suspended_at=None)


def administers(user: User, admin_role: str, now: datetime) -> bool:
    """Whether the user may use the administrators' part of the API."""
    return user.status is Status.ACTIVE and admin_role in effective(user.grants, now)


def stops_administering(before: User, after: User, admin_role: str, now: datetime) -> bool:
    """Whether a change removes an administrator, at once or by setting an end.

    An end counts as a removal with a delay, where the role had none before.
    """
    if not administers(before, admin_role, now):
        return False
    if not administers(after, admin_role, now):
        return True
    return administers_for_good(before, admin_role, now) and not administers_for_good(
        after, admin_role, now
    )


def administers_for_good(user: User, admin_role: str, now: datetime) -> bool:
    """Whether somebody administers, and will until somebody else changes that."""
    return administers(user, admin_role, now) and administers(user, admin_role, FOR_GOOD)


def words_about(user: User, role: str) -> tuple[Grant, ...]:
    """All grants and denials of one role."""
    return tuple(grant for grant in user.grants if grant.role == role)


def _administrators_grant(user: User, role: str) -> Grant | None:
    """The administrators' grant or denial of a role."""
    for grant in user.grants:
        if grant.role == role and grant.source is Source.ADMINISTRATOR:
            return grant
    return None


def _within_limit(name: str, values: dict[str, Any]) -> dict[str, Any]:
    if problem := cannot_travel(values):
        raise MetadataInvalidError(f"The {name} would {problem}.")
    return values


def _refuse_deleted(user: User) -> None:
    if user.deleted_at:
        raise UserDeletedError(f"The user was deleted on {user.deleted_at:%Y-%m-%d}.")
