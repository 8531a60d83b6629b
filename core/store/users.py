"""Users, grants and their audit as rows: loaded under lock, written where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter, itemgetter
from typing import Any, Final
from uuid import UUID

from sqlalchemy import JSON, Connection, Table, bindparam, delete, select

from usher.core.domain.at_identity import AtIdentity
from usher.core.domain.records import AuditEntry, Grant, Key, Source, Status, User
from usher.core.store.bulk_insert import BulkInsert
from usher.core.store.counters import Counters
from usher.core.store.erasure import erase
from usher.core.store.ledger import newest_sequence
from usher.core.store.pushes import mark, unmark
from usher.core.store.tables import AuditRow, GrantRow, UserRow

NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""``last_seen_at`` of a user who was never seen; NULL has no place in a keyset."""

USERS: Final[Table] = UserRow.__table__  # type: ignore[attr-defined]
GRANTS: Final[Table] = GrantRow.__table__  # type: ignore[attr-defined]
AUDIT: Final[Table] = AuditRow.__table__  # type: ignore[attr-defined]
_PLAIN_COLUMNS: Final = (
    "id",
    "email",
    "email_key",
    "provider",
    "user_metadata",
    "app_metadata",
    "profile",
    "extra_app_metadata",
    "created_at",
    "updated_at",
    "identity_created_at",
    "confirmed_at",
    "suspended_at",
    "deleted_at",
    "version",
)
USER_COLUMNS: Final = (
    *(USERS.c[name] for name in _PLAIN_COLUMNS),
    USERS.c.last_seen_at,
    USERS.c.applied_order,
    USERS.c.identity_state,
)
"""The columns that ``to_users`` reads, in this order; its caller knows the instance."""
_GRANT_COLUMNS: Final = (
    GRANTS.c.user_id,
    GRANTS.c.role,
    GRANTS.c.source,
    GRANTS.c.created_at,
    GRANTS.c.denies,
    GRANTS.c.actor,
    GRANTS.c.reason,
    GRANTS.c.expires_at,
)
_DOCUMENTS: Final = frozenset(c.name for c in USERS.c if isinstance(c.type, JSON))
"""JSON columns, named in every change: Python takes 1 and true for equal, and no index has them."""
_SIMPLE: Final = tuple(name for name in _PLAIN_COLUMNS if name not in _DOCUMENTS)
_SIMPLE_OF: Final = attrgetter(*_SIMPLE)
_SOURCES: Final = {source.value: source for source in Source}
_LOCK_USERS = (
    select(*USER_COLUMNS)
    .where(
        USERS.c.instance_id == bindparam("instance_id"),
        USERS.c.id.in_(bindparam("ids", expanding=True)),
    )
    .order_by(USERS.c.id)
    .with_for_update()
)
_HERE = select(*USER_COLUMNS).where(USERS.c.instance_id == bindparam("instance_id"))
_BY_ID = _HERE.where(USERS.c.id == bindparam("id"))
_BY_ADDRESS = _HERE.where(USERS.c.email_key == bindparam("email_key")).limit(2)
_WITH_ENDED_GRANTS = (
    select(GRANTS.c.instance_id, GRANTS.c.user_id)
    .where(GRANTS.c.expires_at <= bindparam("now"))
    .limit(bindparam("most"))
)
_GRANTS_OF = (
    select(*_GRANT_COLUMNS)
    .where(
        GRANTS.c.instance_id == bindparam("instance_id"),
        GRANTS.c.user_id.in_(bindparam("ids", expanding=True)),
    )
    .order_by(GRANTS.c.user_id, GRANTS.c.role, GRANTS.c.source)
)
_INSERT_USERS = BulkInsert(USERS)
_CHANGE_USERS = BulkInsert(USERS, upsert=True)
_INSERT_GRANTS = BulkInsert(GRANTS)
_INSERT_AUDIT = BulkInsert(AUDIT)
_DELETE_GRANT = delete(GRANTS).where(
    GRANTS.c.instance_id == bindparam("k_instance"),
    GRANTS.c.user_id == bindparam("k_id"),
    GRANTS.c.role == bindparam("k_role"),
    GRANTS.c.source == bindparam("k_source"),
)


def load_users(connection: Connection, keys: Iterable[Key]) -> dict[Key, User]:
    """Records by key, locked in order until the transaction ends; unknown keys are left out."""
    found: dict[Key, User] = {}
    for instance_id, group in groupby(sorted(set(keys), key=_place), key=itemgetter(0)):
        ids = [key[1] for key in group]
        rows = connection.execute(_LOCK_USERS, {"instance_id": instance_id, "ids": ids}).all()
        for user in to_users(connection, instance_id, rows):
            found[instance_id, user.id] = user
    return found


def find_by_id(connection: Connection, instance_id: UUID, user_id: UUID) -> list[User]:
    """The user with this id, or an empty list; not locked."""
    key = {"instance_id": instance_id, "id": user_id}
    return to_users(connection, instance_id, connection.execute(_BY_ID, key).all())


def find_by_address(connection: Connection, instance_id: UUID, address_key: str) -> list[User]:
    """Users with this ``email_key``, two at most; not locked."""
    key = {"instance_id": instance_id, "email_key": address_key}
    return to_users(connection, instance_id, connection.execute(_BY_ADDRESS, key).all())


def with_ended_grants(connection: Connection, now: datetime, limit: int) -> set[Key]:
    """The keys of users of any instance with grants that have ended; ``limit`` grants at most."""
    found = connection.execute(_WITH_ENDED_GRANTS, {"now": now, "most": limit})
    return {(row[0], row[1]) for row in found}


def to_users(connection: Connection, instance_id: UUID, rows: Sequence[Any]) -> list[User]:
    """Records, with their grants, from rows of ``USER_COLUMNS`` of one instance, in order."""
    if not rows:
        return []
    grants = _grants_of(connection, instance_id, [row[0] for row in rows])
    return [_to_user(instance_id, row, grants.get(row[0], ())) for row in rows]


def store_users(
    connection: Connection,
    counters: Counters,
    before: Mapping[Key, User],
    after: Mapping[Key, User],
    entries: Sequence[AuditEntry],
) -> None:
    """Write the differences between two states of users, and their audit.

    A user whose ``pending`` changes gets or loses a pending push. The audit and the deliveries of
    a deleted user are erased.

    Args:
        counters: take in the changes; the caller writes them.
        before: the records as ``load_users`` gave them.
        after: the records as they shall be; keys that ``before`` lacks are new users.
        entries: the audit of the changes.
    """
    changes = [(before.get(key), user) for key, user in after.items()]
    changes = [(old, new) for old, new in changes if new is not old]
    changes.sort(key=lambda change: (change[1].instance_id.int, change[1].id.int))
    _write_rows(connection, changes)
    ended, given, marked, settled = [], [], [], []
    for old, new in changes:
        key = (new.instance_id, new.id)
        old_grants = old.grants if old else ()
        if new.grants is not old_grants:
            ended += [_grant_key(key, g) for g in old_grants if g not in new.grants]
            given += [_grant_row(key, g) for g in new.grants if g not in old_grants]
        pending = new.at_identity.pending
        if pending != (old is not None and old.at_identity.pending):
            if pending:
                marked.append((key, new.updated_at))
            else:
                settled.append(key)
        counters.count_user(old, new)
    if ended:
        connection.execute(_DELETE_GRANT, ended)
    _INSERT_GRANTS.execute(connection, given)
    if marked:
        mark(connection, marked)
    if settled:
        unmark(connection, settled)
    write_audit(connection, entries)
    for _, new in changes:
        if new.status is Status.DELETED:
            erase(connection, (new.instance_id, new.id))


def write_audit(connection: Connection, entries: Sequence[AuditEntry]) -> None:
    """Add entries to the audit."""
    acts = any(entry.delivery_id is None for entry in entries)
    position = newest_sequence(connection) if acts else None
    _INSERT_AUDIT.execute(connection, [_audit_row(entry, position) for entry in entries])


def _write_rows(connection: Connection, changes: Sequence[tuple[User | None, User]]) -> None:
    created: list[dict[str, Any]] = []
    updated: list[dict[str, Any]] = []
    differing = set(_DOCUMENTS)
    for old, new in changes:
        row = _simple(new)
        if old is not None:
            stored = _simple(old)
            for name, value in row.items():
                if value is not stored[name] and value != stored[name]:
                    differing.add(name)
        (created if old is None else updated).append(row | _documents(new))
    _INSERT_USERS.execute(connection, created)
    _CHANGE_USERS.execute(connection, updated, differing)


def _place(key: Key) -> tuple[int, int]:
    """A sort key: UUIDs compare slowly."""
    return key[0].int, key[1].int


def _grants_of(
    connection: Connection, instance_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, tuple[Grant, ...]]:
    rows = connection.execute(_GRANTS_OF, {"instance_id": instance_id, "ids": ids}).all()
    return {
        user_id: tuple(_to_grant(row) for row in group)
        for user_id, group in groupby(rows, key=itemgetter(0))
    }


def _to_grant(row: Any) -> Grant:
    _, role, source, created_at, denies, actor, reason, expires_at = row
    return Grant(role, _SOURCES[source], created_at, denies, actor, reason, expires_at)


def _grant_key(key: Key, grant: Grant) -> dict[str, Any]:
    return {
        "k_instance": key[0],
        "k_id": key[1],
        "k_role": grant.role,
        "k_source": grant.source.value,
    }


def _grant_row(key: Key, grant: Grant) -> dict[str, Any]:
    return {
        "instance_id": key[0],
        "user_id": key[1],
        "role": grant.role,
        "source": grant.source.value,
        "denies": grant.denies,
        "actor": grant.actor,
        "reason": grant.reason,
        "created_at": grant.created_at,
        "expires_at": grant.expires_at,
    }


def _audit_row(entry: AuditEntry, position: int | None) -> dict[str, Any]:
    return {
        "instance_id": entry.instance_id,
        "user_id": entry.user_id,
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "delivery_id": entry.delivery_id,
        "ledger_position": position if entry.delivery_id is None else None,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason,
    }


def _simple(user: User) -> dict[str, Any]:
    row = dict(zip(_SIMPLE, _SIMPLE_OF(user), strict=True))
    row["instance_id"] = user.instance_id
    row["status"] = user.status.value
    row["last_seen_at"] = user.last_seen_at or NEVER
    row["applied_order"] = user.order
    return row


def _documents(user: User) -> dict[str, Any]:
    state = user.at_identity.document()
    state["proven"] = sorted(user.proven)
    return {
        "user_metadata": user.user_metadata,
        "app_metadata": user.app_metadata,
        "profile": user.profile,
        "extra_app_metadata": user.extra_app_metadata,
        "identity_state": state,
    }


def _to_user(instance_id: UUID, row: Any, grants: tuple[Grant, ...]) -> User:
    *plain, last_seen_at, order, state = row
    return User(
        instance_id,
        **dict(zip(_PLAIN_COLUMNS, plain, strict=True)),
        last_seen_at=None if last_seen_at == NEVER else last_seen_at,
        order=order,
        at_identity=AtIdentity.read(state),
        proven=frozenset(state["proven"]),
        grants=grants,
    )
