"""Domains in their one spelling, as A-labels. Pure.

``münchen.example`` and ``xn--mnchen-3ya.example`` are one domain, and mail goes to one place. The
A-label is the spelling in the DNS, so addresses and rules are compared in it.
"""

from __future__ import annotations

import re

_IN_ASCII = re.compile(r"(?:[a-z0-9_-]+\.)*[a-z0-9_-]+")


def to_a_labels(domain: str) -> str:
    """The domain as A-labels in lower case; an empty string where it cannot be mapped.

    A domain in ASCII is only lower-cased: names such as ``foo_bar.com`` and ``r3---sn.example``
    exist, whatever IDNA says of them. Other labels follow UTS #46, non-transitional: ``straße``
    and ``strasse`` stay two, for different people may register them (IDNA 2008).

    Args:
        domain: of an address of at most ``MAX_EMAIL_CHARACTERS``, without a final dot.
    """
    if domain.isascii():
        return domain.lower()
    import idna  # noqa: PLC0415 - few addresses need it, and a cold start should not

    try:
        remapped = idna.uts46_remap(domain, std3_rules=False, transitional=False)
        mapped = ".".join(
            label if label.isascii() else idna.alabel(label).decode()
            for label in remapped.removesuffix(".").split(".")
        )
    except idna.IDNAError:
        return ""
    # A full-width @ or slash is mapped to the real one, which no domain holds.
    return mapped if _IN_ASCII.fullmatch(mapped) else ""
