"""An account while one request works on it, and what may be done to it.

Source: GoTrue ``models/user.go``. ``updated_at`` moves in memory with every change, but only the
creation stores it: an event shows the new time, the next look-up the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from usher.emulator.passwords import hash_password
from usher.emulator.payload import Account, user_document

SYSTEM_ID = UUID(int=0)


@dataclass(slots=True, kw_only=True)
class Record:
    """Everything that Identity stores of one account; password and tokens are shown to nobody."""

    id: UUID
    email: str
    aud: str
    created_at: datetime
    updated_at: datetime
    role: str = ""
    app_metadata: dict[str, Any] | None = None
    user_metadata: dict[str, Any] | None = None
    confirmed_at: datetime | None = None
    invited_at: datetime | None = None
    confirmation_sent_at: datetime | None = None
    recovery_sent_at: datetime | None = None
    new_email: str = ""
    email_change_sent_at: datetime | None = None
    password: str = ""
    confirmation_token: str = ""
    recovery_token: str = ""
    email_change_token: str = ""

    def account(self) -> Account:
        """What events and answers show."""
        return Account(
            id=self.id,
            email=self.email,
            aud=self.aud,
            role=self.role,
            app_metadata=self.app_metadata,
            user_metadata=self.user_metadata,
            confirmed_at=self.confirmed_at,
            invited_at=self.invited_at,
            confirmation_sent_at=self.confirmation_sent_at,
            recovery_sent_at=self.recovery_sent_at,
            new_email=self.new_email,
            email_change_sent_at=self.email_change_sent_at,
            created_at=self.created_at,
            updated_at=self.updated_at,
        )

    def document(self) -> dict[str, Any]:
        """As the API's answers have it."""
        return user_document(self.account())

    def confirm(self, now: datetime) -> None:
        """The address, or an administrator's word, is good."""
        self.confirmation_token = ""
        self.confirmed_at = now
        self.updated_at = now

    def set_password(self, password: str, now: datetime) -> None:
        """Another password."""
        self.password = hash_password(password)
        self.updated_at = now

    def merge_app_metadata(self, updates: Mapping[str, Any] | None, now: datetime) -> None:
        """Key by key."""
        self.app_metadata = merged(self.app_metadata, updates)
        self.updated_at = now

    def merge_user_metadata(self, updates: Mapping[str, Any] | None, now: datetime) -> None:
        """Key by key."""
        self.user_metadata = merged(self.user_metadata, updates)
        self.updated_at = now


def merged(
    stored: Mapping[str, Any] | None, updates: Mapping[str, Any] | None
) -> dict[str, Any] | None:
    """Metadata after an update: a null deletes its key; where nothing was stored, all is taken."""
    if stored is None:
        return None if updates is None else dict(updates)
    result = dict(stored)
    for key, value in (updates or {}).items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result
