"""Users, grants and their audit as rows: loaded under lock, written where they differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

from usher.core.domain.at_identity import AtIdentity, in_order
from usher.core.domain.records import AuditEntry, Grant, Key, Source, User
from usher.core.domain.written import Written
from usher.core.store.counters import Counters
from usher.core.store.database import Transaction
from usher.core.store.drivers.statement import Statement
from usher.core.store.erasure import erase
from usher.core.store.ledger import newest_sequence
from usher.core.store.statements import (
    CLOSE_ENTRY,
    DELETE_GRANT,
    DELETE_PUSH,
    ENDED_GRANTS,
    FIND_USERS,
    GRANTS_OF,
    INTO_AUDIT,
    INTO_GRANTS,
    INTO_PUSHES,
    INTO_REQUESTS,
    INTO_USERS,
    LOCK_USERS,
    USERS_OF_ADDRESS,
)
from usher.core.store.values import document_of, hex_of, text_of, time_or_none, time_text
from usher.core.strict_json import dumps

NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""``last_seen_at`` of a user who was never seen; NULL has no place in a keyset."""
_NEVER: Final = time_text(NEVER)
_DOCUMENTS: Final = frozenset(
    ("user_metadata", "app_metadata", "profile", "extra_app_metadata", "identity_state")
)
"""JSON columns, named in every change: Python takes 1 and true for equal, and no index has them."""
_SIMPLE: Final = {
    "status": "status",
    "email": "email",
    "email_key": "email_key",
    "provider": "provider",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "identity_created_at": "identity_created_at",
    "confirmed_at": "confirmed_at",
    "suspended_at": "suspended_at",
    "deleted_at": "deleted_at",
    "last_seen_at": "last_seen_at",
    "order": "applied_order",
    "version": "version",
}
"""Attributes of a user by which records are compared, and their columns."""
_SIMPLE_OF: Final = attrgetter(*_SIMPLE)
_SIMPLE_COLUMNS: Final = tuple(_SIMPLE.values())
_SOURCES: Final = {source.value: source for source in Source}


def load_users(transaction: Transaction, keys: Iterable[Key]) -> dict[Key, User]:
    """Records by key, locked in order until the transaction ends; unknown keys are left out."""
    return ask_users(transaction, keys)()


def ask_users(transaction: Transaction, keys: Iterable[Key]) -> Callable[[], dict[Key, User]]:
    """As ``load_users``, when what this gives is called; asked together with what follows."""
    by_instance: dict[str, tuple[UUID, set[str]]] = {}  # Python hashes a text faster than a UUID
    for instance_id, user_id in keys:
        _, ids = by_instance.setdefault(hex_of(instance_id), (instance_id, set()))
        ids.add(hex_of(user_id))
    asked = [
        (instance_id, _ask(transaction, LOCK_USERS, instance_id, sorted(ids)))
        for _, (instance_id, ids) in sorted(by_instance.items())
    ]
    return lambda: {
        (instance_id, user.id): user for instance_id, users in asked for user in users()
    }


def find_by_ids(transaction: Transaction, instance_id: UUID, ids: Sequence[UUID]) -> list[User]:
    """The users with these ids, in that order; not locked, and unknown ones are left out."""
    if not ids:
        return []
    users = _ask(transaction, FIND_USERS, instance_id, [hex_of(one) for one in ids])
    found = {user.id: user for user in users()}
    return [found[one] for one in ids if one in found]


def find_by_address(transaction: Transaction, instance_id: UUID, address_key: str) -> list[User]:
    """Users with this ``email_key``, two at most; not locked."""
    rows = transaction.fetch(USERS_OF_ADDRESS, hex_of(instance_id), address_key)
    return with_grants(transaction, instance_id, rows)


def with_grants(transaction: Transaction, instance_id: UUID, rows: Sequence[Any]) -> list[User]:
    """The users of these rows, whose columns are those of ``FIND_USERS``."""
    ids = [hex_of(row[0]) for row in rows]
    grants = transaction.fetch(GRANTS_OF, hex_of(instance_id), ids) if ids else []
    return _to_users(instance_id, rows, grants)


def with_ended_grants(transaction: Transaction, now: datetime, limit: int) -> set[Key]:
    """The keys of users of any instance with grants that have ended; ``limit`` grants at most."""
    return set(transaction.fetch(ENDED_GRANTS, time_text(now), limit))


def store_users(
    transaction: Transaction,
    counters: Counters,
    before: Mapping[Key, User],
    after: Mapping[Key, User],
    entries: Sequence[AuditEntry],
) -> None:
    """Write the differences between two states of users, and their audit.

    A user whose ``pending`` changes gets or loses a pending push. One who begins to wait gets an
    entry request, which is closed when they wait no more. The audit, the deliveries and the
    requests of a deleted user are erased.

    Args:
        counters: take in the changes; the caller writes them.
        before: the records as ``load_users`` gave them.
        after: the records as they shall be; keys that ``before`` lacks are new users.
        entries: the audit of the changes.
    """
    if before:
        found = ((before.get(key), user) for key, user in after.items())
        changes = [_Change(old, new) for old, new in found if new is not old]
    else:
        changes = [_Change(None, new) for new in after.values()]
    if len(changes) > 1:
        changes.sort(key=_PLACE)
    _write_users(transaction, changes)
    _write_grants(transaction, changes)
    _write_pushes(transaction, changes)
    _write_entries(transaction, changes, entries)
    write_audit(transaction, entries)
    for change in changes:
        counters.count_user(change.old, change.new)
        if change.new.deleted_at is not None:
            erase(transaction, change.instance, change.user)
            _note_left(transaction, change)


def write_audit(transaction: Transaction, entries: Sequence[AuditEntry]) -> None:
    """Add entries to the audit."""
    acts = any(entry.delivery_id is None for entry in entries)
    position = newest_sequence(transaction) if acts else None
    transaction.insert(INTO_AUDIT, [_audit_row(entry, position) for entry in entries])


class _Change:
    """A record before and after, and its key as rows have it."""

    __slots__ = ("instance", "new", "old", "user")

    def __init__(self, old: User | None, new: User) -> None:
        self.old = old
        self.new = new
        self.instance = hex_of(new.instance_id)
        self.user = hex_of(new.id)


def _note_left(transaction: Transaction, change: _Change) -> None:
    if change.old is None or change.old.written is None:
        return
    from usher.core.store.left_keys import note_left  # noqa: PLC0415 - loads SQLAlchemy

    note_left(transaction, change.old, change.new.updated_at)


_PLACE: Final = attrgetter("instance", "user")


def _write_users(transaction: Transaction, changes: Sequence[_Change]) -> None:
    created: list[tuple[Any, ...]] = []
    updated: list[tuple[Any, ...]] = []
    differing = set(_DOCUMENTS)
    for change in changes:
        old, row = change.old, _user_row(change)
        if old is None:
            created.append(row)
            continue
        updated.append(row)
        values = zip(_SIMPLE_COLUMNS, _SIMPLE_OF(old), _SIMPLE_OF(change.new), strict=True)
        differing.update([name for name, was, now in values if was is not now and was != now])
    transaction.insert(INTO_USERS, created)
    if updated:
        transaction.insert(INTO_USERS, updated, INTO_USERS.changing(frozenset(differing)))


def _write_grants(transaction: Transaction, changes: Sequence[_Change]) -> None:
    given: list[tuple[Any, ...]] = []
    for change in changes:
        held = change.old.grants if change.old else ()
        grants = change.new.grants
        if grants is held:
            continue
        key = (change.instance, change.user)
        for grant in held:
            if grant not in grants:
                transaction.send(DELETE_GRANT, *key, grant.role, grant.source._value_)
        given += [_grant_row(*key, grant) for grant in grants if grant not in held]
    transaction.insert(INTO_GRANTS, given)


def _write_pushes(transaction: Transaction, changes: Sequence[_Change]) -> None:
    marked: list[tuple[Any, ...]] = []
    for change in changes:
        pending = change.new.at_identity.pending
        if pending == (change.old is not None and change.old.at_identity.pending):
            continue
        if pending:
            at = time_text(change.new.updated_at)
            marked.append((change.instance, change.user, at, 0, at, None, ""))
        else:
            transaction.send(DELETE_PUSH, change.instance, change.user)
    transaction.insert(INTO_PUSHES, marked)


def _write_entries(
    transaction: Transaction, changes: Sequence[_Change], entries: Sequence[AuditEntry]
) -> None:
    begun: list[tuple[Any, ...]] = []
    for change in changes:
        new = change.new
        waited = change.old is not None and change.old.waiting_since is not None
        if waited == (new.waiting_since is not None):
            continue
        if waited:
            mine = (each.actor for each in entries if each.user_id == new.id)
            at = time_text(new.updated_at)
            transaction.send(CLOSE_ENTRY, next(mine, ""), at, change.instance, change.user)
        else:
            begun.append(entry_row(change.instance, change.user, "", new.updated_at))
    transaction.insert(INTO_REQUESTS, begun)


def entry_row(instance: str, user: str, reason: str, at: datetime) -> tuple[Any, ...]:
    """An open entry request, in the order of ``INTO_REQUESTS``."""
    return instance, user, None, reason, "open", "", "", time_text(at), None


def _ask(
    transaction: Transaction, statement: Statement, instance_id: UUID, ids: Sequence[str]
) -> Callable[[], list[User]]:
    """The users with these ids, with their grants, when it is called."""
    instance = hex_of(instance_id)
    rows = transaction.ask(statement, instance, ids)
    grants = transaction.ask(GRANTS_OF, instance, ids)

    def users() -> list[User]:
        found = rows()
        return _to_users(instance_id, found, grants()) if found else []

    return users


def _to_users(instance_id: UUID, rows: Sequence[Any], grants: Sequence[Any]) -> list[User]:
    """Records from rows of users and of all their grants, the latter in order."""
    of_user: dict[UUID, list[Grant]] = {}
    for row in grants:
        of_user.setdefault(row[0], []).append(_to_grant(row))
    return [_to_user(instance_id, row, tuple(of_user.get(row[0], ()))) for row in rows]


def _to_grant(row: Any) -> Grant:
    _, role, source, denies, actor, reason, created_at, expires_at = row
    return Grant(role, _SOURCES[source], created_at, bool(denies), actor, reason, expires_at)


def _to_user(instance_id: UUID, row: Any, grants: tuple[Grant, ...]) -> User:
    (
        user_id,
        email,
        email_key,
        provider,
        user_metadata,
        app_metadata,
        profile,
        extra_app_metadata,
        identity_state,
        created_at,
        updated_at,
        identity_created_at,
        confirmed_at,
        suspended_at,
        deleted_at,
        last_seen_at,
        order,
        version,
    ) = row
    state = document_of(identity_state)
    return User(
        instance_id,
        user_id,
        created_at,
        updated_at,
        email,
        email_key,
        provider,
        document_of(user_metadata),
        document_of(app_metadata),
        document_of(profile),
        document_of(extra_app_metadata),
        identity_created_at,
        confirmed_at,
        suspended_at,
        deleted_at,
        None if last_seen_at == NEVER else last_seen_at,
        grants,
        AtIdentity.read(state),
        frozenset(state["proven"]),
        order,
        version,
        datetime.fromisoformat(state["waiting"]) if "waiting" in state else None,
        "invited" in state,
        "counted" in state,
        Written.read(state["written"]) if "written" in state else None,
    )


def _user_row(change: _Change) -> tuple[Any, ...]:
    """In the order of ``INTO_USERS``."""
    user = change.new
    state = user.at_identity.document()
    state["proven"] = in_order(user.proven)
    if user.waiting_since is not None:
        state["waiting"] = time_text(user.waiting_since)
    if user.invited:
        state["invited"] = True
    if user.counted:
        state["counted"] = True
    if user.written is not None:
        state["written"] = user.written.document()
    return (
        change.instance,
        change.user,
        user.status._value_,  # ``value`` is slow before Python 3.12
        user.email,
        user.email_key,
        user.provider,
        text_of(user.user_metadata),
        text_of(user.app_metadata),
        text_of(user.profile),
        text_of(user.extra_app_metadata),
        dumps(state),
        time_text(user.created_at),
        time_text(user.updated_at),
        time_or_none(user.identity_created_at),
        time_or_none(user.confirmed_at),
        time_or_none(user.suspended_at),
        time_or_none(user.deleted_at),
        time_or_none(user.last_seen_at) or _NEVER,
        user.order,
        user.version,
    )


def _grant_row(instance: str, user: str, grant: Grant) -> tuple[Any, ...]:
    """In the order of ``INTO_GRANTS``."""
    return (
        instance,
        user,
        grant.role,
        grant.source._value_,
        int(grant.denies),
        grant.actor,
        grant.reason,
        time_text(grant.created_at),
        time_or_none(grant.expires_at),
    )


def _audit_row(entry: AuditEntry, position: int | None) -> tuple[Any, ...]:
    """In the order of ``INTO_AUDIT``."""
    return (
        hex_of(entry.instance_id),
        hex_of(entry.user_id),
        time_text(entry.at),
        entry.actor,
        entry.action,
        entry.delivery_id,
        position if entry.delivery_id is None else None,
        None if entry.before is None else dumps(entry.before),
        dumps(entry.after),
        entry.reason,
    )
