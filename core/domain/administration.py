"""What an administrator does to one record: pure functions from a record to a record."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from usher.core.domain.events import MAX_ROLE_CHARACTERS, is_role
from usher.core.domain.policy import RESERVED_APP_METADATA, listed
from usher.core.domain.records import Grant, Source, User
from usher.core.domain.roles import effective, with_grant, without
from usher.core.errors import MetadataInvalidError, RoleInvalidError, UserDeletedError
from usher.core.strict_json import dumps

MAX_METADATA_BYTES: Final = 16_384
"""Of a profile, and of further app_metadata, as compact JSON."""
MAX_GRANTS: Final = 100
"""Of one user; roles travel in every token."""


def grant_role(
    user: User,
    role: str,
    *,
    actor: str,
    now: datetime,
    reason: str = "",
    expires_at: datetime | None = None,
) -> User:
    """Give a role: an administrator's grant, and nobody's earlier denial stands against it.

    Raises:
        RoleInvalidError, UserDeletedError
    """
    _changeable(user)
    if not is_role(role):
        raise RoleInvalidError(
            f"{role[:40]!r} cannot be a role: 1 to {MAX_ROLE_CHARACTERS} printable characters, "
            "no space at either end."
        )
    grants = tuple(g for g in user.grants if not (g.role == role and g.denies))
    new = Grant(role, Source.ADMINISTRATOR, now, actor=actor, reason=reason, expires_at=expires_at)
    held = _word(user, role)
    if (
        held
        and replace(held, created_at=now, actor=actor) == new
        and len(grants) == len(user.grants)
    ):
        return user  # nothing new is said
    grants = with_grant(grants, new)
    if len(grants) > MAX_GRANTS:
        raise RoleInvalidError(f"A user can have at most {MAX_GRANTS} grants and denials.")
    return replace(user, grants=grants)


def revoke_role(user: User, role: str, *, actor: str, now: datetime, reason: str = "") -> User:
    """Take a role away: what people gave ends; against the policy's grant a denial is left.

    Raises:
        UserDeletedError
    """
    _changeable(user)
    grants = without(user.grants, role, Source.ADMINISTRATOR, Source.IDENTITY)
    held = _word(user, role)
    if held and held.denies:
        grants = with_grant(grants, held)
    elif any(g.role == role for g in grants):
        denial = Grant(role, Source.ADMINISTRATOR, now, denies=True, actor=actor, reason=reason)
        grants = with_grant(grants, denial)
    return replace(user, grants=grants)


def set_roles(
    user: User, roles: Collection[str], *, actor: str, now: datetime, reason: str = ""
) -> User:
    """Make these the roles that the user has: grant what is missing, revoke what is more.

    Raises:
        RoleInvalidError, UserDeletedError
    """
    _changeable(user)
    held = effective(user.grants, now)
    for role in sorted(held.difference(roles)):
        user = revoke_role(user, role, actor=actor, now=now, reason=reason)
    for role in sorted(set(roles) - held):
        user = grant_role(user, role, actor=actor, now=now, reason=reason)
    return user


def edit_profile(user: User, patch: Mapping[str, Any]) -> User:
    """Change the person's own profile by a merge patch (RFC 7396): a null takes a key away.

    Raises:
        MetadataInvalidError, UserDeletedError
    """
    _changeable(user)
    return replace(user, profile=_bounded("profile", merge_patch(user.profile, patch)))


def edit_app_metadata(user: User, patch: Mapping[str, Any]) -> User:
    """Change what is added to every reply; a null takes the key away, at Identity too.

    Raises:
        MetadataInvalidError, UserDeletedError
    """
    _changeable(user)
    if reserved := RESERVED_APP_METADATA.intersection(patch):
        raise MetadataInvalidError(
            f"{listed(reserved)} cannot be set here; roles are given at …/roles."
        )
    old = user.extra_app_metadata
    # A null is kept: it takes the key out of every reply, so that Identity drops it as well.
    new = {key: merge_patch(old.get(key), value) for key, value in patch.items()}
    return replace(user, extra_app_metadata=_bounded("app_metadata", {**old, **new}))


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
    """Take off the record what has ended by itself; no role changes by it."""
    return replace(user, grants=tuple(grant for grant in user.grants if grant.holds(now)))


def suspend(user: User, *, now: datetime) -> User:
    """Shut a user out until reactivated; grants and profile stay.

    Raises:
        UserDeletedError
    """
    _changeable(user)
    return user if user.suspended_at else replace(user, suspended_at=now)


def reactivate(user: User) -> User:
    """Let a suspended user in again, as pending or active as before.

    Raises:
        UserDeletedError
    """
    _changeable(user)
    return replace(user, suspended_at=None)


def _word(user: User, role: str) -> Grant | None:
    """What administrators say about a role."""
    for grant in user.grants:
        if grant.role == role and grant.source is Source.ADMINISTRATOR:
            return grant
    return None


def _bounded(name: str, values: dict[str, Any]) -> dict[str, Any]:
    size = len(dumps(values).encode())
    if size > MAX_METADATA_BYTES:
        raise MetadataInvalidError(
            f"The {name} would have {size} bytes; {MAX_METADATA_BYTES} is the most."
        )
    return values


def _changeable(user: User) -> None:
    if user.deleted_at:
        raise UserDeletedError(f"The user was deleted on {user.deleted_at:%Y-%m-%d}.")
