"""An account while one request works on it.

Source: GoTrue ``models/user.go``. A request stores only the columns that it wrote, as GoTrue's
``UpdateOnly`` does: two requests that write different columns do not undo each other, and one that
writes a metadata map writes it whole. ``updated_at`` moves in memory with every change, but only
the creation stores it: an event shows the new time, the next look-up the old one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from usher.emulator.errors import IdentityError
from usher.emulator.passwords import hash_password
from usher.emulator.payload import Account, user_document

SYSTEM_ID = UUID(int=0)
MAX_DEPTH: Final = 100
"""MySQL's own limit for a JSON document."""


@dataclass(slots=True, kw_only=True)
class Record:
    """Everything that Identity stores of one account; password and tokens are never shown.

    Attributes:
        written: names of the attributes set since the account was read.
    """

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
    written: set[str] = field(default_factory=set, compare=False, repr=False)

    def __setattr__(self, name: str, value: Any) -> None:
        """Note the attribute; the constructor sets ``written`` last, and notes nothing."""
        object.__setattr__(self, name, value)
        if name != "written" and hasattr(self, "written"):
            self.written.add(name)

    def account(self) -> Account:
        """The part that events and answers show."""
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
        """The account in the form of the API's answers."""
        return user_document(self.account())

    def confirm(self, now: datetime) -> None:
        """The address, or an administrator's word, is good."""
        self.confirmation_token = ""
        self.confirmed_at = now
        self.updated_at = now

    def set_password(self, password: str, now: datetime, refused: str) -> None:
        """Set another password.

        Raises:
            IdentityError: 500 with the message ``refused``; it is too long.
        """
        self.password = hash_password(password, refused)
        self.updated_at = now

    def set_app_metadata(self, metadata: dict[str, Any] | None, now: datetime) -> None:
        """Replace the whole map.

        Raises:
            IdentityError: 500, it is nested too deep for the database.
        """
        self.app_metadata = storable(metadata)
        self.updated_at = now

    def set_user_metadata(self, metadata: dict[str, Any] | None, now: datetime) -> None:
        """Replace the whole map.

        Raises:
            IdentityError: 500, it is nested too deep for the database.
        """
        self.user_metadata = storable(metadata)
        self.updated_at = now

    def merge_app_metadata(self, updates: Mapping[str, Any] | None, now: datetime) -> None:
        """Change the map key by key."""
        self.set_app_metadata(merged(self.app_metadata, updates), now)

    def merge_user_metadata(self, updates: Mapping[str, Any] | None, now: datetime) -> None:
        """Change the map key by key."""
        self.set_user_metadata(merged(self.user_metadata, updates), now)


def storable(metadata: dict[str, Any] | None) -> dict[str, Any] | None:
    """The map itself.

    Raises:
        IdentityError: 500, it is nested too deep for the database.
    """
    level: list[Any] = [metadata]
    for _ in range(MAX_DEPTH):
        level = [item for value in level for item in _inner(value)]
        if not level:
            return metadata
    raise IdentityError(500, "Database error updating user")


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


def _inner(value: Any) -> list[Any]:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [item for item in values if isinstance(item, (dict, list))]
