"""Admission as docs/policy.md has it: lists, rules, codes and quotas; nothing of core is used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from tests.system.person import POLICY

DAY = 86_400


@dataclass(frozen=True)
class Rules:
    """What differs from site to site.

    Attributes:
        default: ``allow``, ``ask`` or ``deny``.
        people: of each domain who may sign up a day; 0: as many as want to.
    """

    default: str = "allow"
    people: int = 0

    @property
    def policy(self) -> str:
        """The file."""
        quota = f'signups_per_domain = "{self.people}/d"' if self.people else ""
        head = f'[admission]\ndefault = "{self.default}"\ninvitation_code = "code"\n{quota}\n'
        return head + POLICY

    def answer(self, email: str, provider: str, *, proven: bool) -> str:
        """``allow``, ``ask``, ``deny``, or ``never``, which no code opens."""
        email = email.lower()
        if email.endswith("@mailinator.com"):
            return "never"
        if proven and email.endswith("@example.com"):
            return "allow"
        return "ask" if provider == "github" else self.default


@dataclass
class Code:
    """An invitation code, and those who used it at a signup."""

    allowed: int
    roles: frozenset[str] = frozenset()
    ends_at: datetime | None = None
    revoked: bool = False
    used_by: set[UUID] = field(default_factory=set)

    def state(self, who: UUID, at: int) -> str:
        """``own``, ``good`` or ``bad`` for somebody at a time."""
        if who in self.used_by:
            return "own"
        ended = self.ends_at is not None and self.ends_at.timestamp() <= at
        return "bad" if self.revoked or ended or len(self.used_by) >= self.allowed else "good"


@dataclass(frozen=True)
class Seen:
    """What codes and quotas say of an event; ``state`` is empty where no code was given."""

    state: str = ""
    full: bool = False


@dataclass(frozen=True)
class Admission:
    """Whether somebody enters; ``asks``: only to wait; ``by_code``: for that alone."""

    admitted: bool
    asks: bool
    by_code: bool = False


def admission(answer: str, seen: Seen, *, counted: bool) -> Admission:
    """What becomes of somebody who asks to enter; ``counted`` already, no window is full for."""
    if seen.state in ("good", "own") and answer in ("ask", "deny"):
        return Admission(admitted=True, asks=False, by_code=True)
    good = answer in ("allow", "ask") and (counted or not seen.full)
    return Admission(admitted=good, asks=answer != "allow")


def given(user: dict[str, Any]) -> str:
    """The code in an account's metadata."""
    return str((user["user_metadata"] or {}).get("code", ""))


def window(user: dict[str, Any]) -> tuple[int, str]:
    """Where somebody is counted: the day of their account, and the domain."""
    created_at = datetime.fromisoformat(user["created_at"])
    day = int(created_at.timestamp()) // DAY * DAY
    return day, user["email"].lower().partition("@")[2]


def digest(spelling: str) -> str:
    """As a code in its normal spelling is kept."""
    return hashlib.sha256(spelling.encode()).hexdigest()
