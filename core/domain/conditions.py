"""Conditions of the rules in policy.toml: addresses, domains, providers, invitations, times. Pure.

Each holds or does not for an applicant, and says in words whom it means, without their addresses.
"""

from __future__ import annotations

from datetime import datetime
from math import ceil
from typing import Final

from msgspec import Struct
from msgspec.structs import force_setattr

from usher.core.domain.policy import Applicant, listed, told

BELOW: Final = "*."
"""Before a domain: everything below it."""

MOST_NAMED: Final = 20
"""Entries of a list that a sentence names."""

_NEVER: Final = 1 << 62
"""A second that no event is of."""


class Entries(Struct, frozen=True, gc=False):
    """A list of addresses, or of domains.

    Attributes:
        exact: each means itself alone.
        below: each domain means all that are below it, and not itself.
        words: the list in a sentence; made up from the entries where it is empty.
        size: the number of entries.
    """

    exact: frozenset[str] = frozenset()
    below: frozenset[str] = frozenset()
    words: str = ""
    size: int = 0

    def __post_init__(self) -> None:
        """Count and word the list."""
        force_setattr(self, "size", len(self.exact) + len(self.below))
        if not self.words:
            force_setattr(self, "words", _named(self.exact | {BELOW + each for each in self.below}))

    def __len__(self) -> int:
        """The number of entries."""
        return self.size

    def match(self, value: str) -> str:
        """The entry that covers a value, as the policy spells it; empty: none does."""
        if value in self.exact:
            return value
        parent = value.partition(".")[2] if self.below else ""
        while parent:
            if parent in self.below:
                return BELOW + parent
            parent = parent.partition(".")[2]
        return ""


def _named(entries: frozenset[str]) -> str:
    """The entries in a sentence, a few by name: each event's reasons have it."""
    if len(entries) <= MOST_NAMED:
        return listed(entries)
    first = sorted(entries)[:MOST_NAMED]
    return f"{', '.join(first)} and {len(entries) - MOST_NAMED} more"


NONE: Final = Entries()


class Spelling(Struct, frozen=True, gc=False):
    """The spellings of an address that count as one, by choice.

    Attributes:
        ignore_subaddress: ``ada+news@`` is ``ada@``.
        ignore_dots: ``a.da@`` is ``ada@``, at every domain.
        dotless: the domains where that is so.
    """

    ignore_subaddress: bool = False
    ignore_dots: bool = False
    dotless: Entries = NONE

    def fold(self, address: str) -> str:
        """The spelling by which an address is compared; that of a folded one is itself."""
        local, at, domain = address.rpartition("@")
        if self.ignore_subaddress:
            local = local.partition("+")[0] or local
        if self.ignore_dots or self.dotless.match(domain):
            local = local.replace(".", "") or local
        return local + at + domain

    def describe(self) -> list[str]:
        """The choices in words."""
        lines = []
        if self.ignore_subaddress:
            lines.append("Ignores a + and what follows it in an address, before the @.")
        if self.ignore_dots:
            lines.append("Ignores dots in an address, before the @.")
        elif self.dotless:
            lines.append(f"Ignores dots before the @ in addresses at {self.dotless.words}.")
        return lines


AS_WRITTEN: Final = Spelling()


class Conditions(Struct, frozen=True, gc=False):
    """The conditions of one rule, all of which must hold; without any, it concerns everybody.

    Attributes:
        emails, email_domains: of the address, which the rule then needs to be proven.
        invited: whether an administrator invited the account; None: it does not matter.
        since, until: the first moment, and the first one that is too late, UTC.
        names_address: whether the rule depends on the address, and so on its proof.
        names_other: whether it has any other condition.
    """

    emails: Entries = NONE
    email_domains: Entries = NONE
    providers: frozenset[str] = frozenset()
    invited: bool | None = None
    since: datetime | None = None
    until: datetime | None = None
    names_address: bool = False
    names_other: bool = False
    _first: int = -_NEVER
    _end: int = _NEVER

    def __post_init__(self) -> None:
        """Note what is asked about, and the times in whole seconds, as events have them."""
        force_setattr(self, "names_address", bool(self.emails or self.email_domains))
        times = self.since or self.until
        other = bool(self.providers) or self.invited is not None or times is not None
        force_setattr(self, "names_other", other)
        if self.since is not None:
            force_setattr(self, "_first", ceil(self.since.timestamp()))
        if self.until is not None:
            force_setattr(self, "_end", ceil(self.until.timestamp()))

    def hold(self, who: Applicant) -> bool:
        """Whether all conditions hold but those about the address."""
        if self.providers and who.provider not in self.providers:
            return False
        if self.invited is not None and who.invited is not self.invited:
            return False
        return self._first <= who.at < self._end

    def concern(self, address: str, domain: str) -> bool:
        """Whether the conditions about the address hold, proven or not.

        Args:
            address: as ``Spelling.fold`` leaves it.
        """
        if self.emails.size and address not in self.emails.exact:
            return False
        domains = self.email_domains
        return not domains.size or domain in domains.exact or bool(domains.match(domain))

    def describe(self, address: str = "proven address") -> str:
        """Whom the rule concerns, as the end of a sentence."""
        found = []
        if self.emails:
            found.append(f"whose {address} is one of {len(self.emails)} listed")
        if self.email_domains:
            found.append(f"whose {address} is at {self.email_domains.words}")
        if self.providers:
            found.append(f"whose account is from {listed(self.providers)}")
        if self.invited is not None:
            found.append("who was invited" if self.invited else "whom nobody invited")
        times = [
            f"{word} {told(moment)}"
            for word, moment in (("from", self.since), ("until", self.until))
            if moment is not None
        ]
        who = f" {' and '.join(found)}" if found else ""
        when = f"{',' if who else ''} {' '.join(times)}" if times else ""
        return f"everybody{who}{when}"


EVERYBODY: Final = Conditions()
