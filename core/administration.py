"""What an administrator does to one record: pure functions from a record to a record."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from core.errors import RoleInvalidError, UserDeletedError
from core.events import MAX_ROLE_CHARACTERS, is_role
from core.records import Grant, Source, User
from core.roles import with_grant, without


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
    return replace(user, grants=with_grant(grants, new))


def revoke_role(user: User, role: str, *, actor: str, now: datetime, reason: str = "") -> User:
    """Take a role away: what people gave ends; against the policy's grant a denial is left.

    Raises:
        UserDeletedError
    """
    _changeable(user)
    grants = without(user.grants, role, Source.ADMINISTRATOR, Source.IDENTITY)
    denied = any(
        g.role == role and g.source is Source.ADMINISTRATOR and g.denies for g in user.grants
    )
    if denied or any(g.role == role for g in grants):
        denial = Grant(role, Source.ADMINISTRATOR, now, denies=True, actor=actor, reason=reason)
        grants = with_grant(grants, denial)
    return replace(user, grants=grants)


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


def _changeable(user: User) -> None:
    if user.deleted_at:
        raise UserDeletedError(f"The user was deleted on {user.deleted_at:%Y-%m-%d}.")
