"""Quotas: how many people of one domain may sign up within a window of time. Pure.

A window is fixed, and a person belongs to that of their sign-up as Identity signed it. So the
number of people who are admitted does not depend on the order in which events arrive.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from usher.core.bounds import MAX_QUOTA

_QUOTA: Final = re.compile(r"([1-9][0-9]{0,6})/(min|h|d)", re.ASCII)
_SECONDS: Final = {"min": 60, "h": 3_600, "d": 86_400}
_NAMES: Final = {60: "a minute", 3_600: "an hour", 86_400: "a day"}


class Quota(Struct, frozen=True):
    """A number of people for each window of so many seconds, counted from midnight UTC."""

    people: int
    seconds: int

    def describe(self) -> str:
        """As a part of a sentence."""
        return f"{self.people} {_NAMES[self.seconds]}"

    def window(self, at: float) -> int:
        """The beginning of a moment's window; both in seconds since the epoch."""
        return int(at // self.seconds) * self.seconds


class Place(Struct, frozen=True):
    """A window of one domain at one instance, in which people are counted.

    Attributes:
        begins: in seconds since the epoch.
    """

    instance_id: UUID
    domain: str
    seconds: int
    begins: int

    @property
    def key(self) -> str:
        """Its key on record, within the instance."""
        return f"{self.seconds}:{self.begins}:{self.domain}"

    @property
    def ends_at(self) -> datetime:
        """When nobody is counted in it any more."""
        return datetime.fromtimestamp(self.begins + self.seconds, UTC)


def read_quota(text: object) -> Quota | None:
    """The quota of a text such as ``20/h``; None where it is none."""
    found = _QUOTA.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[1]) > MAX_QUOTA:
        return None
    return Quota(int(found[1]), _SECONDS[found[2]])
