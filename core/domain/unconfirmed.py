"""Pending records that never became an account: which of them are removed, and when. Pure.

A ``validate`` makes a pending record. Identity may roll the account back, or nobody follows its
link. A record that was ever active is never removed: ``confirmed_at`` and ``last_seen_at`` are set
by whatever makes it active, and nothing clears them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from usher.core.domain.events import IdentityUser
from usher.core.domain.records import AuditEntry, Source, Status, User, left_of

ACTION: Final = "user.removed"
GRACE: Final = timedelta(days=1)
"""Age from which Identity's word that it has no such account is believed."""
NO_ACCOUNT: Final = "Identity has no such account"


def never_confirmed(days: int) -> str:
    """The reason for a removal by age."""
    return f"not confirmed within {days} day{'s' * (days != 1)}"


def is_untouched(user: User, now: datetime, since: timedelta) -> bool:
    """Whether a record was never active, and is as it was for so long."""
    never_active = user.status is Status.PENDING and user.last_seen_at is None
    return never_active and max(user.created_at, user.updated_at) <= now - since


def is_decided(user: User) -> bool:
    """Whether an administrator decided something about the user that a removal would lose."""
    word = any(grant.source is Source.ADMINISTRATOR for grant in user.grants)
    by_handlers = user.written.app_metadata if user.written is not None else {}
    return word or bool(user.extra_app_metadata.keys() - by_handlers) or bool(user.profile)


def why_removed(user: User, now: datetime, days: int) -> str:
    """The reason to remove a record by its age alone; empty: it stays."""
    old = is_untouched(user, now, timedelta(days=days)) and not is_decided(user)
    return never_confirmed(days) if old else ""


def why_removed_by(account: IdentityUser | None, user: User, now: datetime, days: int) -> str:
    """The reason to remove a record, given Identity's answer about its account; empty: it stays.

    Args:
        account: None where Identity has no such account. Decisions of administrators here can then
            never take effect, since ids are not used again.
    """
    if account is None:
        return NO_ACCOUNT if is_untouched(user, now, GRACE) else ""
    return "" if account.confirmed_at else why_removed(user, now, days)


def is_given_up(account: IdentityUser, now: datetime, days: int) -> bool:
    """Whether an account without a record needs none: it was not confirmed for that many days."""
    if not days or account.confirmed_at or not account.created_at:
        return False
    return account.created_at <= now - timedelta(days=days)


def removal(user: User, actor: str, now: datetime, reason: str) -> AuditEntry:
    """The entry of the audit for a removal; nothing in it is personal but ``left_of``."""
    before, after = {"status": user.status.value}, {"status": "removed", **left_of(user)}
    return AuditEntry(ACTION, actor, user.instance_id, user.id, now, before, after, reason)
