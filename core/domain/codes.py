"""Invitation codes: their spelling, what they allow, and whether one can be used. Pure.

A code is kept as the SHA-256 digest of its normal spelling, never as text. It is long enough that
nobody finds one by trying, or from its digest.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from usher.core.bounds import (
    MAX_CODE_CHARACTERS,
    MAX_CODE_ROLES,
    MAX_CODE_USES,
    MAX_LABEL_CHARACTERS,
    MIN_CODE_CHARACTERS,
)
from usher.core.domain.events import is_text
from usher.core.domain.held_roles import is_role
from usher.core.errors import CodeInvalidError

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's: no letter that looks like a digit, and no U."""
GROUP: Final = 5
CODE_BITS: Final = 75
"""Of a code that Usher makes: fifteen characters of five bits."""
_LOOK_ALIKE: Final = str.maketrans("OIL", "011")


class CodeState(StrEnum):
    """The state of a code: whether it can be used, and if not, why."""

    OPEN = "open"
    OWN = "own"
    """This very account used it before; that counts for good."""
    UNKNOWN = "unknown"
    """No code is spelled so, or what was given is no text."""
    ENDED = "ended"
    USED_UP = "used_up"
    REVOKED = "revoked"


STAND_INS: Final[Mapping[str, CodeState]] = {
    "valid": CodeState.OPEN,
    "invalid": CodeState.UNKNOWN,
}
"""The states of codes that stand for others, where a policy is asked about nobody's own one."""


class Code(Struct, frozen=True):
    """One invitation code as it is kept.

    Attributes:
        label: an administrator's words, to tell codes apart.
        allowed, used: how many accounts it admits, and how many it has admitted.
        roles: given to each account at the signup that uses the code.
        roles_until: when these end, UTC; None: they do not.
        ends_at: events signed from then on cannot use it; None: it has no end.
    """

    id: UUID
    digest: str
    label: str
    allowed: int
    used: int
    roles: tuple[str, ...]
    created_at: datetime
    created_by: str
    roles_until: datetime | None = None
    ends_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, at: float) -> CodeState:
        """The state for an event signed at this time, in seconds since the epoch."""
        if self.revoked_at is not None:
            return CodeState.REVOKED
        if self.ends_at is not None and self.ends_at.timestamp() <= at:
            return CodeState.ENDED
        return CodeState.USED_UP if self.used >= self.allowed else CodeState.OPEN


class CodeUse(Struct, frozen=True):
    """One account that used a code."""

    user_id: UUID
    used_at: datetime


class NewCodes(Struct, frozen=True):
    """Codes to be made, all alike.

    Attributes:
        spelling: the administrator's own code; empty: Usher makes ``count`` of them.
    """

    count: int = 1
    allowed: int = 1
    roles: tuple[str, ...] = ()
    roles_until: datetime | None = None
    ends_at: datetime | None = None
    label: str = ""
    spelling: str = ""

    def check(self, now: datetime) -> None:
        """Require what can be kept and used.

        Raises:
            CodeInvalidError
        """
        if self.spelling:
            if self.count != 1:
                raise CodeInvalidError("A code of your own is one code.")
            letters = len(normal(self.spelling))
            if not MIN_CODE_CHARACTERS <= letters <= MAX_CODE_CHARACTERS:
                raise CodeInvalidError(
                    f"A code has {MIN_CODE_CHARACTERS} to {MAX_CODE_CHARACTERS} letters and "
                    f"digits; this one has {letters}."
                )
        if not 1 <= self.allowed <= MAX_CODE_USES:
            raise CodeInvalidError(f"A code can be used 1 to {MAX_CODE_USES} times.")
        if len(self.label) > MAX_LABEL_CHARACTERS or not is_text(self.label):
            raise CodeInvalidError(f"A label has at most {MAX_LABEL_CHARACTERS} characters.")
        _check_roles(self.roles)
        if self.roles_until is not None and not self.roles:
            raise CodeInvalidError("An end of roles needs roles.")
        for end in (self.roles_until, self.ends_at):
            if end is not None and end <= now:
                raise CodeInvalidError("The end lies in the past.")


def _check_roles(roles: tuple[str, ...]) -> None:
    if wrong := [role for role in roles if not is_role(role)]:
        raise CodeInvalidError(f"{wrong[0][:40]!r} is not a role name.")
    if len(roles) > MAX_CODE_ROLES or len(set(roles)) < len(roles):
        raise CodeInvalidError(f"A code gives at most {MAX_CODE_ROLES} roles, each once.")


def spelled(number: int) -> str:
    """A code's spelling, as ``7HQ2M-9KXTD-4BWZP``, from a number of ``CODE_BITS`` random bits."""
    letters = [ALPHABET[number >> place & 31] for place in range(CODE_BITS - 5, -1, -5)]
    groups = ("".join(letters[at : at + GROUP]) for at in range(0, len(letters), GROUP))
    return "-".join(groups)


def normal(text: str) -> str:
    """The normal spelling: letters and digits alone, in capitals, look-alikes as digits."""
    letters = unicodedata.normalize("NFKC", text).upper()
    return "".join(filter(str.isalnum, letters)).translate(_LOOK_ALIKE)


def digest_of(given: object) -> str:
    """The digest of what a person gave as a code; empty where that cannot be one."""
    if not isinstance(given, str) or len(given) > 2 * MAX_CODE_CHARACTERS or not is_text(given):
        return ""
    letters = normal(given)
    if not MIN_CODE_CHARACTERS <= len(letters) <= MAX_CODE_CHARACTERS:
        return ""
    return hashlib.sha256(letters.encode()).hexdigest()


def given_code(metadata: Mapping[str, Any] | None, key: str) -> object:
    """The code that an account's ``user_metadata`` names; None: none, or a blank one."""
    found = metadata.get(key) if metadata and key else None
    return None if isinstance(found, str) and not found.strip() else found
