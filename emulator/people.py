"""Believable people for development: always the same ones, in the same order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Final

SEED: Final = 1812
OWNER: Final = "owner@example.com"
OWNER_NAME: Final = "Olivia Wren"
_FIRST = """
Ada Alan Amina Anna Aoife Barbara Bea Bjarne Carlos Chen Chloe Daan Dana Edsger Elena Emil Esi
Fatima Femi Grace Hana Hugo Ines Ivan Jaya Joan Jonas Kaito Katherine Lars Leila Linus Lucia
Magda Marek Maya Mei Nadia Niklaus Noor Olga Omar Paulo Priya Radia Rosa Sam Selma Sofia Tariq
Tim Uma Vera Wanda Yara Yuki Zoe
"""
_LAST = """
Adeyemi Andersson Bakker Bauer Berg Costa Dahl Dijkstra Dubois Eriksen Fischer Garcia Goldberg
Haddad Hopper Ito Jansen Johnson Kaya Khan Kim Kowalska Lamarr Liskov Lovelace Maier Mbeki
Moreau Nakamura Novak Okafor Osei Park Perlman Petrov Ricci Rossi Sato Schmidt Silva Singh
Tanaka Turing Varga Weber Wirth Yilmaz Zhang
"""
FIRST: Final = _FIRST.split()
LAST: Final = _LAST.split()
DOMAINS: Final = (
    ["example.com"] * 2 + ["example.org"] * 3 + ["example.net"] * 2 + ["mail.example.edu"]
)
DENIED_DOMAIN: Final = "mailinator.com"
"""The domain that policy.toml denies."""
PROVIDERS: Final = ["email"] * 6 + ["google"] * 3 + ["github"] * 2 + ["gitlab"]


class Way(StrEnum):
    """The way in which a person comes, and its end."""

    SIGNS_UP = "signs up"
    NEVER_CONFIRMS = "never confirms"
    DENIED = "comes from a denied domain"
    INVITED = "is invited"
    ACCEPTS = "is invited, and accepts"


_WAYS: Final = {4: Way.DENIED, 8: Way.NEVER_CONFIRMS, 12: Way.INVITED, 16: Way.ACCEPTS}
"""In each twenty, by position; all others just sign up."""


@dataclass(frozen=True, slots=True)
class Person:
    """A person of the development data.

    Attributes:
        provider: the account's; ``email``: it has a password.
        returns: logs in once more later.
    """

    name: str
    email: str
    provider: str
    way: Way
    returns: bool


def people() -> Iterator[Person]:
    """The owner first, then without end; no address comes twice."""
    rng = random.Random(SEED)  # noqa: S311 - to be the same each time, not to be unknown
    yield Person(OWNER_NAME, OWNER, "email", Way.SIGNS_UP, returns=True)
    taken: set[str] = set()
    for number in count(1):
        name = f"{rng.choice(FIRST)} {rng.choice(LAST)}"
        domain, provider, returns = rng.choice(DOMAINS), rng.choice(PROVIDERS), rng.random() < 0.6
        way = _WAYS.get(number % 20, Way.SIGNS_UP)
        if way is not Way.SIGNS_UP:
            provider = "email"
        if way is Way.DENIED:
            domain = DENIED_DOMAIN
        email = f"{name.lower().replace(' ', '.')}@{domain}"
        if email in taken:
            email = email.replace("@", f"{number}@")
        taken.add(email)
        yield Person(name, email, provider, way, returns)
