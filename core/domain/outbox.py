"""Changes for a site's own code: one ``Change`` for each fact in an entry of the audit. Pure.

An entry of the audit is written in the transaction of its change, so the audit is the outbox. One
entry may hold several facts: a signup makes a record, confirms it and gives two roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import replace

from usher.core.domain.events import Event
from usher.core.domain.records import LEFT, THE_SITE, AuditEntry, Status, User
from usher.core.domain.roles import effective
from usher.core.texts import utc_text


class Kind(StrEnum):
    """The kinds of changes."""

    USER_CREATED = "user.created"
    """A record was made, though perhaps of somebody who never confirms the account."""
    USER_CONFIRMED = "user.confirmed"
    """The person may enter: confirmed, and approved where the policy asks for that."""
    USER_CHANGED = "user.changed"
    """The address, the provider, or something in the metadata or the profile."""
    USER_SUSPENDED = "user.suspended"
    USER_REACTIVATED = "user.reactivated"
    USER_DELETED = "user.deleted"
    """Also where a record was removed that never became an account."""
    ROLE_GRANTED = "role.granted"
    """The person has a role that they had not before, from whatever source."""
    ROLE_REVOKED = "role.revoked"
    """The person has a role no longer: taken away, denied or ended."""
    EVENT_DENIED = "event.denied"
    """The policy refused somebody at the door; only where a site asks for these."""


if TYPE_CHECKING:
    Roles = list[str] | tuple[str, ...] | AbstractSet[str]
else:
    Roles = tuple[str, ...]  # as msgspec reads them

DENIED_ACTION: Final = "event.denied"
REMOVED_ACTION: Final = "user.removed"
HANDLER: Final = "handler:"
"""Begins the actor of what a handler wrote."""
_FIELDS: Final = (
    "email",
    "provider",
    "user_metadata",
    "app_metadata",
    "profile",
    "extra_app_metadata",
)
_SHUT: Final = frozenset((Status.SUSPENDED, Status.DELETED))


class Person(Struct, frozen=True, kw_only=True):
    """The person of a change, as on record when it is handed over.

    Attributes:
        roles: the effective ones.
        app_metadata: as Identity has it, with the keys that are added here.
        written: the keys of metadata that handlers wrote, with their values; of a deleted person
            all that is left.
    """

    id: UUID
    email: str = ""
    status: str = "deleted"
    roles: tuple[str, ...] = ()
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    app_metadata: Mapping[str, Any] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)
    written: Mapping[str, Any] = field(default_factory=dict)


class Change(Struct, frozen=True, kw_only=True):
    """One fact about one person, which follows from one entry of the audit.

    Attributes:
        id: the same whenever the change is handed over: an idempotency key.
        role: the role that was granted or revoked; else empty.
        before, after: the parts of the record that differ, as in the audit; empty once the person
            is deleted.
        actor: ``identity``, ``user:<id>``, ``cli:…``, ``handler:<name>`` and so on.
        reason: in words.
        delivery_id: of the event that caused it; None for a person's act.
        sequence: the place in the audit.
    """

    id: str
    kind: Kind
    at: datetime
    instance_id: UUID
    user: Person
    role: str = ""
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    actor: str = ""
    reason: str = ""
    delivery_id: str | None = None
    sequence: int = 0


class Write(Struct, frozen=True, kw_only=True):
    """A handler's own change of the person of a change, made once the handler has returned it.

    Attributes:
        app_metadata, user_metadata: keys and their values; None removes a key.
        grant, revoke: roles. A handler takes away only what it gave itself.
    """

    app_metadata: Mapping[str, Any] = field(default_factory=dict)
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    grant: Roles = ()
    revoke: Roles = ()


def denial_of(event: Event, rule: str, now: datetime) -> AuditEntry:
    """The entry for an event that was refused; it holds nothing personal but the id.

    Args:
        rule: the one that refused it.
    """
    after = {"event": event.name.value, "rule": rule}
    key = event.instance_id, event.user.id
    return AuditEntry(
        DENIED_ACTION, "identity", *key, now, {}, after, delivery_id=event.delivery_id
    )


def changes_of(entry: AuditEntry) -> tuple[Change, ...]:
    """The changes that an entry of the audit holds, in the order in which they are handed over.

    Each has the person's id alone; see ``with_person``.
    """
    if entry.user_id == THE_SITE:
        return ()
    if entry.action == DENIED_ACTION:
        return (_change(entry, Kind.EVENT_DENIED),)
    before, after = entry.before or {}, entry.after
    was, now = before.get("status"), after.get("status")
    if now == Status.DELETED or entry.action == REMOVED_ACTION:
        return (_change(entry, Kind.USER_DELETED),)
    found = []
    if entry.before is None:
        found.append(_change(entry, Kind.USER_CREATED))
    if now == Status.ACTIVE and was not in _SHUT:
        found.append(_change(entry, Kind.USER_CONFIRMED))
    if entry.before is not None and any(name in after for name in _FIELDS):
        found.append(_change(entry, Kind.USER_CHANGED))
    if was == Status.SUSPENDED:
        found.append(_change(entry, Kind.USER_REACTIVATED))
    held, holds = _roles(before), _roles(after, entry.at)
    found += [_change(entry, Kind.ROLE_GRANTED, role) for role in sorted(holds - held)]
    found += [_change(entry, Kind.ROLE_REVOKED, role) for role in sorted(held - holds)]
    if now == Status.SUSPENDED:
        found.append(_change(entry, Kind.USER_SUSPENDED))
    return tuple(found)


def with_person(change: Change, user: User | None, now: datetime) -> Change:
    """The change with its person as on record now; of a deletion with what handlers wrote.

    Args:
        user: the record; None: there is none, as of somebody who was refused.
    """
    if change.kind is Kind.USER_DELETED:
        left = Person(id=change.user.id, written=change.after.get(LEFT, {}))
        return replace(change, user=left, before={}, after={})
    person = Person(id=change.user.id, status="") if user is None else person_of(user, now)
    return replace(change, user=person)


def person_of(user: User, now: datetime) -> Person:
    """A record, as changes show it."""
    added = {key: value for key, value in user.extra_app_metadata.items() if value is not None}
    return Person(
        id=user.id,
        email=user.email,
        status=user.status.value,
        roles=tuple(sorted(effective(user.grants, now))),
        user_metadata=user.user_metadata,
        app_metadata={**user.app_metadata, **added},
        profile=user.profile,
        written=user.written.values(user.extra_app_metadata) if user.written is not None else {},
    )


def matches(patterns: AbstractSet[str], kind: str) -> bool:
    """Whether a kind is one of those that a handler or a sink is for: itself, ``user.*``, ``*``."""
    return not patterns.isdisjoint((kind, f"{kind.partition('.')[0]}.*", "*"))


def unknown_patterns(patterns: AbstractSet[str]) -> list[str]:
    """Those of the patterns that no kind matches."""
    return sorted(each for each in patterns if not any(matches({each}, kind) for kind in Kind))


def _change(entry: AuditEntry, kind: Kind, role: str = "") -> Change:
    sequence = entry.sequence or 0
    key = f"{entry.instance_id}:{sequence}:{utc_text(entry.at)}:{entry.user_id}:{kind.value}:{role}"
    return Change(
        id=f"chg_{sha256(key.encode()).hexdigest()[:32]}",
        kind=kind,
        at=entry.at,
        instance_id=entry.instance_id,
        user=Person(id=entry.user_id),
        role=role,
        before=entry.before or {},
        after=entry.after,
        actor=entry.actor,
        reason=entry.reason,
        delivery_id=entry.delivery_id,
        sequence=sequence,
    )


def _roles(part: Mapping[str, Any], at: datetime | None = None) -> frozenset[str]:
    """The effective roles among those that a part of an entry tells of.

    Args:
        at: the time of the entry; None: before it, when words that have ended since still held.
    """
    held = set()
    for role, said in part.get("roles", {}).items():
        words = [word["is"] for word in said.values() if at is None or _holds(word, at)]
        if "grant" in words and "denial" not in words:
            held.add(role)
    return frozenset(held)


def _holds(word: Mapping[str, Any], at: datetime) -> bool:
    until = word.get("until")
    return until is None or datetime.fromisoformat(until) > at
