"""Machine credentials as rows: made, found by their digest, listed, revoked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import insert, or_, select, update

from usher.core.domain.keys import ApiKey, Scope
from usher.core.domain.records import THE_SITE, AuditEntry, Page
from usher.core.errors import KeyNotFoundError, KeyTakenError
from usher.core.store.database import Database, Transaction, again_on_conflict
from usher.core.store.instances import Instances
from usher.core.store.keyset import Order, fetch
from usher.core.store.tables import KEYS
from usher.core.store.users import write_audit

_NEWEST: Final = Order("keys", (KEYS.c.created_at, KEYS.c.name), (datetime, str), True)


class Keys:
    """The keys of one database.

    Args:
        instances: say whose audit tells of them.
    """

    def __init__(self, database: Database, instances: Instances) -> None:
        self._database = database
        self._instances = instances

    def add(self, key: ApiKey) -> None:
        """Keep a new key.

        Raises:
            KeyTakenError: a key of its name was made before, revoked or not.
        """
        again_on_conflict(lambda: self._add(key))

    def _add(self, key: ApiKey) -> None:
        same = select(KEYS.c.name).where(KEYS.c.name == key.name)
        with self._database.write() as transaction:
            if transaction.sql.execute(same).first() is not None:
                raise KeyTakenError(f"A key {key.name!r} was made before. Choose another name.")
            row = {**{c.name: getattr(key, c.name) for c in KEYS.c}, "scopes": sorted(key.scopes)}
            transaction.sql.execute(insert(KEYS).values(row))
            facts = {"scopes": sorted(key.scopes), "expires_at": key.expires_at}
            self._note(transaction, "key.created", key, key.created_by, key.created_at, "", facts)

    def find(self, digest: str) -> ApiKey | None:
        """The key with this digest."""
        with self._database.read() as transaction:
            row = transaction.sql.execute(select(KEYS).where(KEYS.c.digest == digest)).first()
        return None if row is None else _to_key(row)

    def note_use(self, key: ApiKey, now: datetime, before: datetime) -> None:
        """Note that a key is used now, unless that was noted after ``before``."""
        stale = or_(KEYS.c.used_at.is_(None), KEYS.c.used_at <= before)
        with self._database.write() as transaction:
            transaction.sql.execute(
                update(KEYS).where(KEYS.c.name == key.name, stale).values(used_at=now)
            )

    def page(self, *, limit: int, cursor: str | None) -> Page[ApiKey]:
        """One page of keys, the newest first.

        Raises:
            CursorInvalidError: the cursor is not one of this list.
        """
        with self._database.read() as transaction:
            rows, following = fetch(
                transaction.sql,
                select(KEYS),
                _NEWEST,
                within=(),
                where=(),
                cursor=cursor,
                limit=limit,
            )
        return Page(tuple(map(_to_key, rows)), following)

    def revoke(self, name: str, actor: str, reason: str, now: datetime) -> ApiKey:
        """End a key for good; again, it changes nothing.

        Raises:
            KeyNotFoundError: there is no such key.
        """
        return again_on_conflict(lambda: self._revoke(name, actor, reason, now))

    def _revoke(self, name: str, actor: str, reason: str, now: datetime) -> ApiKey:
        named = select(KEYS).where(KEYS.c.name == name).with_for_update()
        with self._database.write() as transaction:
            row = transaction.sql.execute(named).first()
            if row is None:
                raise KeyNotFoundError(f"There is no key {name[:60]!r}.")
            if row.revoked_at is None:
                changed = update(KEYS).where(KEYS.c.name == name).values(revoked_at=now)
                transaction.sql.execute(changed)
                self._note(transaction, "key.revoked", _to_key(row), actor, now, reason, {})
                row = transaction.sql.execute(named).first()
        return _to_key(row)

    def _note(
        self,
        transaction: Transaction,
        action: str,
        key: ApiKey,
        actor: str,
        now: datetime,
        reason: str,
        facts: Mapping[str, Any],
    ) -> None:
        """Tell the audit, as soon as there is an instance; the entry is the site's own."""
        instance_id = self._instances.known(transaction).one
        if instance_id is None:
            return
        after = {"key": {"name": key.name, **facts}}
        entry = AuditEntry(action, actor, instance_id, THE_SITE, now, {}, after, reason)
        write_audit(transaction, [entry])


def _to_key(row: Any) -> ApiKey:
    values = {column.name: getattr(row, column.name) for column in KEYS.c}
    return ApiKey(**values | {"scopes": frozenset(map(Scope, row.scopes))})
