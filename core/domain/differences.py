"""Differences between answers and between records, grouped and in a few words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from usher.core.domain.decide import UNREADABLE
from usher.core.domain.policy import Reason, Verdict
from usher.core.domain.records import Decision, Outcome, Status, User
from usher.core.domain.reply import Reply
from usher.core.domain.roles import effective
from usher.core.strict_json import StrictJsonError, equal, loads_object

EXAMPLES: Final = 3


@dataclass
class Group:
    """Differences of one kind: a field, its old and new value, a count and some examples."""

    what: str
    was: str
    now: str
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, example: str) -> None:
        """Count one more difference."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(example)


class Differences:
    """Differences, grouped by kind."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str, str], Group] = {}

    def note(self, what: str, was: str, now: str, example: str) -> None:
        """Count a difference; equal values are none."""
        if was != now:
            group = self._groups.setdefault((what, was, now), Group(what, was, now))
            group.add(example)

    def add(self, other: Differences) -> None:
        """Add the groups of another collection."""
        for key, group in other._groups.items():
            mine = self._groups.setdefault(key, Group(*key))
            mine.count += group.count
            mine.examples += group.examples[: EXAMPLES - len(mine.examples)]

    def groups(self) -> list[Group]:
        """The groups, the most frequent first."""
        return sorted(self._groups.values(), key=lambda g: (-g.count, g.what, g.was, g.now))

    def documents(self) -> list[dict[str, Any]]:
        """The groups as JSON documents."""
        return [
            {"what": g.what, "was": g.was, "now": g.now, "count": g.count, "examples": g.examples}
            for g in self.groups()
        ]

    def __bool__(self) -> bool:
        return bool(self._groups)


def reply_in_words(reply: Reply) -> str:
    """A reply as ``204``, ``200 roles: member, staff; plan: gold``, ``403 Please use …``."""
    try:
        document = loads_object(reply.body.encode()) if reply.body else {}
    except StrictJsonError:
        return f"{reply.status} {reply.body[:100]}"
    if reply.status == 200:
        held = document.get("app_metadata") or {}
        roles = held.get("roles") or []
        words = [f"roles: {', '.join(map(_short, roles)) or 'none'}"]
        words += [f"{k}: {_short(v)}" for k, v in sorted(held.items()) if k != "roles"]
        return "200 " + "; ".join(words)
    said = document.get("detail") or document.get("code") or ""
    return f"{reply.status} {said}".rstrip()


def replies_in_words(was: Reply, now: Reply) -> tuple[str, str]:
    """Two replies in words, which are the same only where the replies mean the same."""
    first, second = reply_in_words(was), reply_in_words(now)
    same = was.status == now.status and equal(_content(was), _content(now))
    if same:
        return first, first
    return (first, second) if first != second else _around(was.body, now.body)


def _content(reply: Reply) -> Any:
    try:
        return loads_object(reply.body.encode())
    except StrictJsonError:
        return reply.body


def user_differences(
    was: User | None, now: User | None, at: datetime
) -> Iterator[tuple[str, str, str]]:
    """Fields of two records of one user, as (field, then, now); some pairs may be equal."""
    if was is None or now is None:
        yield "record", "there" if was else "absent", "there" if now else "absent"
        return
    yield "status", was.status.value, now.status.value
    yield "roles", _roles(was, at), _roles(now, at)
    yield "email", was.email, now.email
    for name in ("user_metadata", "app_metadata", "profile", "extra_app_metadata"):
        if not equal(getattr(was, name), getattr(now, name)):
            yield name, *_apart(getattr(was, name), getattr(now, name))


def admission(decision: Decision) -> str:
    """``admitted``, ``waiting`` (for an approval), ``failed``, or ``denied by`` and the rule."""
    if decision.outcome is Outcome.FAILED:
        return "failed"
    if decision.outcome is Outcome.DENIED:
        return _denied(decision.reasons)
    waits = decision.user is not None and decision.user.status is Status.WAITING
    return "waiting" if waits else "admitted"


def entry(verdict: Verdict | None) -> str:
    """The same of a verdict by itself; None: the policy failed."""
    if verdict is None:
        return "failed"
    if not verdict.admitted:
        return _denied(verdict.reasons)
    return "waiting" if verdict.asks else "admitted"


def _denied(reasons: tuple[Reason, ...]) -> str:
    deciding = [each.rule for each in reasons if each.rule not in UNREADABLE]
    return f"denied by {deciding[-1]}"


def roles(user: User | None, at: datetime) -> frozenset[str]:
    """The roles that a record has; none without a record."""
    return effective(user.grants, at) if user else frozenset()


def role_differences(was: frozenset[str], now: frozenset[str]) -> Iterator[tuple[str, str, str]]:
    """Each role of either, as ``("role 'staff'", "had", "not had")``; some pairs may be equal."""
    for role in sorted(was | now):
        yield f"role {role!r}", _held(role, was), _held(role, now)


def _held(role: str, roles: frozenset[str]) -> str:
    return "had" if role in roles else "not had"


def _roles(user: User, at: datetime) -> str:
    return ", ".join(sorted(effective(user.grants, at))) or "none"


def _apart(was: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, str]:
    """Two maps in a few words: of their keys, those whose values differ."""
    same = {key for key in was.keys() & now.keys() if equal(was[key], now[key])}
    one, other = (
        {key: value for key, value in each.items() if key not in same} for each in (was, now)
    )
    first, second = _short(one), _short(other)
    return (first, second) if first != second else _around(str(one), str(other))


def _around(one: str, other: str) -> tuple[str, str]:
    """Two long texts, cut shortly before the place where they begin to differ."""
    shorter = min(len(one), len(other))
    place = next((at for at in range(shorter) if one[at] != other[at]), shorter)
    start = max(0, place - 20)
    return f"…{_short(one[start:])}", f"…{_short(other[start:])}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "…"
