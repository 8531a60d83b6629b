"""Machine credentials: their spelling, their scopes, and whether one holds. Pure.

A key is kept as the SHA-256 digest of its text. It is long enough that nobody finds one by trying,
or from its digest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from usher.core.errors import KeyInvalidError

PREFIX: Final = "usher_"
"""Begins every key, so that scanners of source code know one."""
KEY_BITS: Final = 256
MAX_NAME_CHARACTERS: Final = 50
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_LETTERS: Final = 43
"""So many of 62 letters and digits hold ``KEY_BITS``."""
_KEY: Final = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_LETTERS}}}", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]*", re.ASCII)


class Scope(StrEnum):
    """The rights that a key can have; each operation of the API needs one at most."""

    CHANGES_READ = "changes:read"
    """The feed of changes, by ids."""
    USERS_READ = "users:read"
    """Records, their events without bodies, the roles in use, and counts."""
    ROLES_WRITE = "roles:write"
    """Give and take roles, but for the administrators' role."""
    CLIENTS_NAME = "clients:name"
    """Name the client of a forwarded request, whose rate limit then counts; for guards."""


class KeyState(StrEnum):
    """The state of a key: whether it opens anything, and if not, why."""

    OPEN = "open"
    EXPIRED = "expired"
    REVOKED = "revoked"


class ApiKey(Struct, frozen=True):
    """One key as it is kept.

    Attributes:
        name: no two keys ever have the same one, since the audit tells by it who acted.
        expires_at: from then on it opens nothing; None: it has no end.
        used_at: the last use, to the minute.
    """

    name: str
    digest: str
    scopes: frozenset[Scope]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    used_at: datetime | None = None

    def state(self, now: datetime) -> KeyState:
        """The state at a time."""
        if self.revoked_at is not None:
            return KeyState.REVOKED
        if self.expires_at is not None and self.expires_at <= now:
            return KeyState.EXPIRED
        return KeyState.OPEN


class NewKey(Struct, frozen=True):
    """A key to be made.

    Attributes:
        expires_at: None: it has no end.
    """

    name: str
    scopes: frozenset[Scope]
    expires_at: datetime | None

    def check(self, now: datetime) -> None:
        """Require what can be kept and used.

        Raises:
            KeyInvalidError
        """
        if len(self.name) > MAX_NAME_CHARACTERS or not _NAME.fullmatch(self.name):
            raise KeyInvalidError(
                f"A key's name has 1 to {MAX_NAME_CHARACTERS} characters of a to z, 0 to 9, and "
                f"after the first one also . _ -; this is none: {self.name[:60]!r}."
            )
        if not self.scopes:
            raise KeyInvalidError(f"A key needs a scope: {', '.join(Scope)}.")
        if self.expires_at is not None and self.expires_at <= now:
            raise KeyInvalidError("The end lies in the past.")


def read_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """The scopes of these names.

    Raises:
        KeyInvalidError: there is no scope of that name.
    """
    known = {scope.value: scope for scope in Scope}
    found = set()
    for name in names:
        if name not in known:
            raise KeyInvalidError(f"{name[:40]!r} is no scope. There are: {', '.join(Scope)}.")
        found.add(known[name])
    return frozenset(found)


def spelled(number: int) -> str:
    """The text of a key, from a number of ``KEY_BITS`` random bits."""
    letters = []
    for _ in range(_LETTERS):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    return PREFIX + "".join(letters)


def digest_of(text: str) -> str:
    """The digest of a key; empty where the text cannot be one."""
    return hashlib.sha256(text.encode()).hexdigest() if _KEY.fullmatch(text) else ""


def key_document(key: ApiKey, now: datetime) -> dict[str, Any]:
    """A key for administrators, without its text, which nobody knows any more."""
    return {
        "name": key.name,
        "state": key.state(now).value,
        "scopes": sorted(key.scopes),
        "created_at": key.created_at,
        "created_by": key.created_by,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "used_at": key.used_at,
    }
