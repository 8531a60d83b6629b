"""Proof of an address: what of an event shows that somebody reached it. Pure.

Identity does not say so; docs/lifecycle.md and docs/security.md have what is concluded from what.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from usher.core.domain.events import EventName, IdentityUser

LINK_LASTS: Final = timedelta(hours=24, minutes=1)
"""Links of confirmation and recovery end after 24 hours; the minute is for whole-second times."""


def proves(name: EventName, user: IdentityUser, signed_at: datetime | None = None) -> bool:
    """Whether an event of this name proves the address: by a followed link, or by a provider.

    At signup, ``recovery_sent_at`` means a completed recovery. Later it means a request for one,
    which anybody can make. Before confirmation, ``confirmation_sent_at`` only means that a mail
    went out. A link that had ended when the account was confirmed was not followed: a provider, an
    administrator or autoconfirm confirmed it. An invitation's link never ends.

    Args:
        signed_at: ``iat`` of the event; None: Identity was asked.
    """
    if name is EventName.VALIDATE:
        return False
    if name is EventName.USERMODIFIED and not user.confirmed_at:
        return False
    if user.invited_at or user.provider not in ("", "email"):
        return True
    confirming = signed_at if name is EventName.SIGNUP else None
    if confirming and _in_time(user.recovery_sent_at, confirming):
        return True
    return _in_time(user.confirmation_sent_at, user.confirmed_at or confirming)


def _in_time(sent_at: datetime | None, confirmed_at: datetime | None) -> bool:
    """Whether a mail went out whose link can have confirmed the account; unknown counts as so."""
    if sent_at is None or confirmed_at is None:
        return sent_at is not None
    return confirmed_at - sent_at <= LINK_LASTS
