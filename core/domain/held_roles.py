"""``app_metadata.roles`` as Identity holds it: read as far as it can be, written back whole. Pure.

Roles are a list of names. Scripts and people put other things there, too. Usher acts on the names
it can read, and takes nothing else away: what is no name stays in every list that is told, and a
value that is no list at all is not written over.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from usher.core.bounds import MAX_ROLE_CHARACTERS
from usher.core.opaque import UNREADABLE_ROLES


class HeldRoles(Struct, frozen=True, gc=False):
    """One reading of ``roles``.

    Attributes:
        names: the role names, without the spaces around them.
        kept: the elements that are no role names, in their order, as they came.
        foreign: a value that is neither a list nor a text, in words; empty: it is one.
        plain: every name stands once and without spaces around it, in a list if there is any.
    """

    names: frozenset[str] = frozenset()
    kept: tuple[Any, ...] = ()
    foreign: str = ""
    plain: bool = True

    def shows(self, roles: AbstractSet[str]) -> bool:
        """Whether Identity holds exactly these roles, in the form in which we would tell them."""
        return self.plain and self.names == roles

    def telling(self, roles: Iterable[str]) -> list[Any]:
        """The list that tells these roles and keeps what is no role name."""
        return [*sorted(roles), *self.kept]

    @property
    def unreadable(self) -> str:
        """The part that cannot be read, in words and without its content; empty: all can be."""
        if self.foreign:
            return f"roles is {self.foreign}: neither read nor written over"
        if not self.kept:
            return ""
        kinds = ", ".join(sorted(set(map(_kind, self.kept))))
        return f"roles has elements that are no role names; they stay ({len(self.kept)}: {kinds})"


ABSENT: Final = HeldRoles()
"""The reading of an ``app_metadata`` without ``roles``."""
_NULL: Final = HeldRoles(plain=False)


def is_role(name: str) -> bool:
    """Whether a name can be a role: 1 to 100 printable characters, no space at either end."""
    return 0 < len(name) <= MAX_ROLE_CHARACTERS and name.isprintable() and name == name.strip()


def read_roles(value: object) -> HeldRoles:
    """Read the value of ``roles``; a text alone counts as a list of one, null as no roles."""
    if isinstance(value, list):
        names = frozenset([each for each in value if isinstance(each, str) and is_role(each)])
        return HeldRoles(names) if len(names) == len(value) else _read_elements(value)
    if isinstance(value, str):
        alone = _read_elements([value])
        return replace(alone, plain=not alone.names)
    return _NULL if value is None else HeldRoles(foreign=_foreign(value), plain=False)


def _read_elements(elements: list[Any]) -> HeldRoles:
    names: set[str] = set()
    kept: list[Any] = []
    plain = True
    for each in elements:
        name = each.strip() if isinstance(each, str) else ""
        if is_role(name):
            plain = plain and name == each and name not in names
            names.add(name)
        else:
            kept.append(each)
    return HeldRoles(frozenset(names), tuple(kept), plain=plain)


def _foreign(value: object) -> str:
    """A value that is no list, or none that can be read, in words."""
    if value is UNREADABLE_ROLES:
        return "too large, too deep or not to be stored"
    return f"{_kind(value)}, not a list"


def _kind(value: object) -> str:
    """The kind of a JSON value in words."""
    if isinstance(value, str):
        if len(value.strip()) > MAX_ROLE_CHARACTERS:
            return f"a text of over {MAX_ROLE_CHARACTERS} characters"
        return "a text that cannot be printed" if value.strip() else "an empty text"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if value is None:
        return "null"
    return "a list" if isinstance(value, list) else "an object"
