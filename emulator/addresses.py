"""E-mail addresses: the forms that Identity accepts, and the key that its look-ups compare.

An address is accepted if Go's ``net/mail`` parses it; it is stored as typed.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from usher.emulator.errors import IdentityError

MAX_CHARACTERS: Final = 320

_ATOM = r"(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]|[^\x00-\x7f])+"
_DOT_ATOM = rf"{_ATOM}(?:\.{_ATOM})*"
_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"'
_SPEC = rf"(?:{_DOT_ATOM}|{_QUOTED})@{_DOT_ATOM}"
_PHRASE = rf"(?:{_QUOTED}|{_DOT_ATOM})(?:[ \t]+(?:{_QUOTED}|{_DOT_ATOM}))*"
_ADDRESS = re.compile(rf"[ \t]*(?:{_SPEC}|(?:{_PHRASE})?[ \t]*<[ \t]*{_SPEC}[ \t]*>)[ \t]*")


def check_address(email: str) -> None:
    """Insist on an address.

    Raises:
        IdentityError: 422, in GoTrue's words.
    """
    if not email:
        raise IdentityError(422, "An email address is required")
    if len(email) > MAX_CHARACTERS or not _ADDRESS.fullmatch(email):
        raise IdentityError(422, "Unable to validate email address: invalid format")


def address_key(email: str) -> str:
    """The form in which look-ups compare: no case, no accents, no trailing spaces.

    Source: MySQL's collation ``utf8mb4_unicode_ci``; this is the usual part of it.
    """
    letters = unicodedata.normalize("NFD", email.casefold())
    return "".join(c for c in letters if unicodedata.category(c) != "Mn").rstrip(" ")
