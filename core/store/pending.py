"""Pending records as rows: looked through page by page, and removed where nothing changed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import bindparam, delete, select, tuple_

from usher.core.domain.records import AuditEntry, Key, Status, User
from usher.core.store.counters import Counters
from usher.core.store.database import Database, Transaction, again_on_conflict
from usher.core.store.deliveries import note_removal
from usher.core.store.erasure import erase
from usher.core.store.instances import Instances
from usher.core.store.left_keys import note_left
from usher.core.store.syncs import known_ids, some_ids
from usher.core.store.tables import GRANTS, PUSHES, USERS
from usher.core.store.user_search import RARE_STATUS
from usher.core.store.users import find_by_ids, load_users, write_audit
from usher.core.store.values import hex_of

SAMPLE: Final = 5
Place = tuple[datetime, UUID]
_ORDER: Final = (USERS.c.created_at, USERS.c.id)
_REMOVALS: Final = tuple(
    delete(column.table).where(
        column.table.c.instance_id == bindparam("k_instance"), column == bindparam("k_id")
    )
    for column in (GRANTS.c.user_id, PUSHES.c.user_id, USERS.c.id)
)


class PendingRecords(Struct, frozen=True):
    """The pending records of one instance.

    Args:
        instances: say whose records are meant.
    """

    database: Database
    instances: Instances

    def page(self, until: datetime, place: Place | None, limit: int) -> list[User]:
        """Those made up to a time, the oldest first.

        Args:
            place: ``created_at`` and id of the record after which to begin; None: the first.

        Raises:
            SeveralInstancesError: no instance is configured, and the records are of several.
        """
        with self.database.read() as transaction:
            instance_id = self.instances.shown(transaction)
            statement = select(USERS.c.id).where(
                USERS.c.instance_id == instance_id,
                RARE_STATUS,
                USERS.c.status == Status.PENDING.value,
                USERS.c.created_at <= until,
            )
            if place is not None:
                pairs = zip(_ORDER, place, strict=True)
                values = (bindparam(None, value, type_=column.type) for column, value in pairs)
                statement = statement.where(tuple_(*_ORDER) > tuple_(*values))
            ids = transaction.sql.execute(statement.order_by(*_ORDER).limit(limit)).scalars().all()
            return find_by_ids(transaction, instance_id, ids)

    def remove(self, entries: Sequence[tuple[User, AuditEntry]]) -> set[Key]:
        """Remove records that are still as they were read, each with the entry of its audit.

        Returns:
            The keys of the removed records.
        """

        def work() -> set[Key]:
            with self.database.write() as transaction:
                current = load_users(transaction, [_key(user) for user, _ in entries])
                same = [(u, entry) for u, entry in entries if current.get(_key(u)) == u]
                remove_users(transaction, [u for u, _ in same], [entry for _, entry in same])
            return {_key(user) for user, _ in same}

        return again_on_conflict(work)

    def active(self) -> list[UUID]:
        """The ids of some active users: the oldest and the newest."""
        with self.database.read() as transaction:
            return some_ids(transaction.sql, self.instances.shown(transaction), SAMPLE)

    def knows(self, ids: Collection[UUID]) -> bool:
        """Whether one of these ids has a record."""
        with self.database.read() as transaction:
            instance_id = self.instances.shown(transaction)
            return known_ids(transaction.sql, instance_id, sorted(ids)) > 0


def remove_users(
    transaction: Transaction, users: Sequence[User], entries: Sequence[AuditEntry]
) -> None:
    """Remove records with all personal data; nothing keeps their ids from coming again.

    Args:
        users: records as ``load_users`` gave them.
        entries: the audit of the removals.
    """
    counters = Counters()
    for user in users:
        key = _key(user)
        for statement in _REMOVALS:
            transaction.sql.execute(statement, {"k_instance": key[0], "k_id": key[1]})
        counters.count_user(user, None)
        erase(transaction, hex_of(key[0]), hex_of(key[1]))
        note_removal(transaction.sql, *key)
        if user.written is not None:
            note_left(transaction, user, max(entry.at for entry in entries))
    write_audit(transaction, entries)
    counters.write(transaction)


def _key(user: User) -> Key:
    return user.instance_id, user.id
