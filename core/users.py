"""THE user service: every read and write of users, grants and their audit goes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Connection,
    Table,
    and_,
    bindparam,
    delete,
    or_,
    select,
    update,
)

from core.administration import grant_role, reactivate, revoke_role, suspend
from core.database import BulkInsert, Database
from core.errors import (
    AmbiguousUserError,
    ConflictError,
    LastAdministratorError,
    UserNotFoundError,
)
from core.events import email_key
from core.ledger import erase_deliveries
from core.lifecycle import tombstone
from core.models import AuditRow, GrantRow, UserRow
from core.records import AuditEntry, Grant, Source, Status, User, audit
from core.roles import effective

Key = tuple[UUID, UUID]
"""(instance id, user id)."""

MAX_PAGE: Final = 200
CONFLICT_ATTEMPTS: Final = 3

_USERS: Final[Table] = UserRow.__table__  # type: ignore[attr-defined]
_GRANTS: Final[Table] = GrantRow.__table__  # type: ignore[attr-defined]
_AUDIT: Final[Table] = AuditRow.__table__  # type: ignore[attr-defined]
_LOCK_USERS = (
    select(_USERS)
    .where(
        _USERS.c.instance_id == bindparam("instance_id"),
        _USERS.c.id.in_(bindparam("ids", expanding=True)),
    )
    .order_by(_USERS.c.id)
    .with_for_update()
)
_INSERT_USERS = BulkInsert(_USERS)
_REPLACE_USERS = BulkInsert(_USERS, upsert=True)
_INSERT_GRANTS = BulkInsert(_GRANTS)
_INSERT_AUDIT = BulkInsert(_AUDIT)
_DELETE_GRANT = delete(_GRANTS).where(
    _GRANTS.c.instance_id == bindparam("k_instance"),
    _GRANTS.c.user_id == bindparam("k_id"),
    _GRANTS.c.role == bindparam("k_role"),
    _GRANTS.c.source == bindparam("k_source"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; ``next_cursor`` is None on the last."""

    users: tuple[User, ...]
    next_cursor: str | None


class UserService:
    """Reads and writes users.

    Args:
        database: where they are.
        admin_role: whose last active holder is protected.
        clock: the current time, UTC.
    """

    def __init__(self, database: Database, admin_role: str, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._admin_role = admin_role
        self._clock = clock

    # --- within somebody's transaction --------------------------------------------------------

    def load(self, connection: Connection, keys: Iterable[Key]) -> dict[Key, User]:
        """The records of these keys, locked in order until the transaction ends."""
        found: dict[Key, User] = {}
        for instance_id, group in groupby(sorted(set(keys)), key=lambda key: key[0]):
            ids = [key[1] for key in group]
            rows = connection.execute(_LOCK_USERS, {"instance_id": instance_id, "ids": ids}).all()
            if not rows:
                continue
            grants = _grants_of(connection, instance_id, [row.id for row in rows])
            for row in rows:
                found[instance_id, row.id] = _to_user(row, grants.get(row.id, ()))
        return found

    def store(
        self,
        connection: Connection,
        before: Mapping[Key, User],
        after: Mapping[Key, User],
        entries: Sequence[tuple[AuditEntry, str | None]],
    ) -> None:
        """Write what differs between two states of some users, and the audit of it.

        Args:
            before: the records as ``load`` gave them.
            after: the records as they shall be; keys that ``before`` lacks are new users.
            entries: each with the id of the delivery that caused it, None for a person's act.
        """
        changed = [key for key in sorted(after) if after[key] is not before.get(key)]
        created, updated, ended, given = [], [], [], []
        for key in changed:
            old, new = before.get(key), after[key]
            if old is None:
                created.append(_to_row(new))
            else:
                updated.append(_to_row(new))
            old_grants = old.grants if old else ()
            ended += [_grant_key(key, g) for g in old_grants if g not in new.grants]
            given += [_grant_row(key, g) for g in new.grants if g not in old_grants]
        _INSERT_USERS.execute(connection, created)
        _REPLACE_USERS.execute(connection, updated)
        if ended:
            connection.execute(_DELETE_GRANT, ended)
        _INSERT_GRANTS.execute(connection, given)
        _INSERT_AUDIT.execute(connection, [_audit_row(entry, id_) for entry, id_ in entries])
        for key in changed:
            if after[key].status is Status.DELETED:
                _erase_audit(connection, key)
                erase_deliveries(connection, *key)

    # --- reading ------------------------------------------------------------------------------

    def find(self, handle: str, instance_id: UUID | None = None) -> User:
        """The one user with this id or e-mail address.

        Raises:
            UserNotFoundError, AmbiguousUserError
        """
        if not handle.strip() or not handle.isprintable():
            raise UserNotFoundError("Name a user by id or e-mail address.")
        try:
            condition = _USERS.c.id == UUID(handle)
        except ValueError:
            condition = _USERS.c.email_key == email_key(handle)
        if instance_id is not None:
            condition = and_(condition, _USERS.c.instance_id == instance_id)
        with self._database.read() as connection:
            rows = connection.execute(select(_USERS).where(condition).limit(2)).all()
            if not rows:
                raise UserNotFoundError(f"No user has the id or e-mail address {handle[:100]!r}.")
            if len(rows) > 1:
                raise AmbiguousUserError(
                    f"More than one user has the id or address {handle[:100]!r}. Use the id, and "
                    "with several instances set USHER_INSTANCE_ID to the one that is meant."
                )
            row = rows[0]
            grants = _grants_of(connection, row.instance_id, [row.id])
            return _to_user(row, grants.get(row.id, ()))

    def page(
        self,
        *,
        status: Status | None = None,
        email_prefix: str | None = None,
        role: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Users by time of creation, oldest first; by keyset, so a deep page costs no more.

        Args:
            cursor: ``next_cursor`` of the page before.

        Raises:
            UserNotFoundError: when the cursor names no place.
        """
        statement = select(_USERS).order_by(_USERS.c.created_at, _USERS.c.id)
        if status:
            statement = statement.where(_USERS.c.status == status.value)
        if email_prefix:
            prefix = email_key(email_prefix)
            statement = statement.where(
                _USERS.c.email_key >= prefix, _USERS.c.email_key < prefix + "\U0010ffff"
            )
        now = self._clock()
        if role:
            statement = statement.where(_holds_role(role, now))
        if cursor:
            moment, user_id = _read_cursor(cursor)
            statement = statement.where(
                or_(
                    _USERS.c.created_at > moment,
                    and_(_USERS.c.created_at == moment, _USERS.c.id > user_id),
                )
            )
        limit = max(1, min(limit, MAX_PAGE))
        with self._database.read() as connection:
            rows = connection.execute(statement.limit(limit + 1)).all()
            grants: dict[UUID, tuple[Grant, ...]] = {}
            shown = rows[:limit]
            for instance_id in {row.instance_id for row in shown}:
                ids = [row.id for row in shown if row.instance_id == instance_id]
                grants |= _grants_of(connection, instance_id, ids)
        users = tuple(_to_user(row, grants.get(row.id, ())) for row in shown)
        more = len(rows) > limit
        return Page(users, f"{shown[-1].created_at.isoformat()}~{shown[-1].id}" if more else None)

    # --- what administrators do -----------------------------------------------------------------

    def grant(
        self,
        user: User,
        role: str,
        *,
        actor: str,
        reason: str = "",
        expires_at: datetime | None = None,
    ) -> User:
        """Give a role (see ``administration.grant_role``)."""
        return self._change(
            user,
            "role.granted",
            actor,
            reason,
            lambda current, now: grant_role(
                current, role, actor=actor, now=now, reason=reason, expires_at=expires_at
            ),
            force=False,
        )

    def revoke(
        self, user: User, role: str, *, actor: str, reason: str = "", force: bool = False
    ) -> User:
        """Take a role away (see ``administration.revoke_role``).

        Raises:
            LastAdministratorError: unless forced.
        """
        return self._change(
            user,
            "role.revoked",
            actor,
            reason,
            lambda current, now: revoke_role(current, role, actor=actor, now=now, reason=reason),
            force=force,
        )

    def suspend(self, user: User, *, actor: str, reason: str = "", force: bool = False) -> User:
        """Shut a user out until reactivated.

        Raises:
            LastAdministratorError: unless forced.
        """
        return self._change(
            user,
            "user.suspended",
            actor,
            reason,
            lambda current, now: suspend(current, now=now),
            force=force,
        )

    def reactivate(self, user: User, *, actor: str, reason: str = "") -> User:
        """Let a suspended user in again."""
        return self._change(
            user, "user.reactivated", actor, reason, lambda current, _: reactivate(current)
        )

    def delete(self, user: User, *, actor: str, reason: str = "", force: bool = False) -> User:
        """Leave a tombstone; cannot be undone.

        Raises:
            LastAdministratorError: unless forced.
        """
        return self._change(
            user,
            "user.deleted",
            actor,
            reason,
            lambda current, now: current if current.deleted_at else tombstone(current, now),
            force=force,
        )

    def _change(
        self,
        user: User,
        action: str,
        actor: str,
        reason: str,
        command: Callable[[User, datetime], User],
        force: bool = True,
    ) -> User:
        for attempt in range(1, CONFLICT_ATTEMPTS + 1):
            try:
                return self._try_change(user, action, actor, reason, command, force)
            except ConflictError:  # two changes that waited for each other: one goes again
                if attempt == CONFLICT_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _try_change(
        self,
        user: User,
        action: str,
        actor: str,
        reason: str,
        command: Callable[[User, datetime], User],
        force: bool,
    ) -> User:
        key = (user.instance_id, user.id)
        now = self._clock()
        with self._database.write() as connection:
            before = self.load(connection, [key])
            if key not in before:
                raise UserNotFoundError(f"The user {user.id} does not exist any more.")
            current = before[key]
            changed = command(current, now)
            entry = audit(action, actor, current, changed, now, reason)
            if entry is None:
                return current
            if (
                not force
                and self._administers(current, now)
                and not self._administers(changed, now)
            ):
                self._keep_an_administrator(connection, key, now)
            changed = replace(changed, updated_at=now, version=current.version + 1)
            self.store(connection, before, {key: changed}, [(entry, None)])
            return changed

    def _administers(self, user: User, now: datetime) -> bool:
        return user.status is Status.ACTIVE and self._admin_role in effective(user.grants, now)

    def _keep_an_administrator(self, connection: Connection, leaving: Key, now: datetime) -> None:
        others = (
            select(_USERS.c.id)
            .where(
                _USERS.c.instance_id == leaving[0],
                _USERS.c.id != leaving[1],
                _USERS.c.status == Status.ACTIVE.value,
                _holds_role(self._admin_role, now),
            )
            .limit(1)
        )
        looked_at: list[UUID] = []
        while row := connection.execute(others.where(_USERS.c.id.not_in(looked_at))).first():
            # Locked, then read again: their role may be on its way out in another transaction.
            found = self.load(connection, [(leaving[0], row.id)])
            if any(self._administers(other, now) for other in found.values()):
                return
            looked_at.append(row.id)
        raise LastAdministratorError(
            f"Nobody else is active and has the role {self._admin_role!r}. Give it to "
            "somebody first, or repeat with force."
        )


def _holds_role(role: str, now: datetime) -> Any:
    """SQL for ``role in effective(grants)``."""
    live = or_(_GRANTS.c.expires_at.is_(None), _GRANTS.c.expires_at > now)

    def said(denies: bool) -> Any:
        return (
            select(_GRANTS.c.role)
            .where(
                _GRANTS.c.instance_id == _USERS.c.instance_id,
                _GRANTS.c.user_id == _USERS.c.id,
                _GRANTS.c.role == role,
                _GRANTS.c.denies.is_(denies),
                live,
            )
            .exists()
        )

    return and_(said(False), ~said(True))


def _read_cursor(cursor: str) -> tuple[datetime, UUID]:
    moment, _, user_id = cursor.partition("~")
    try:
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(user_id)
    except (ValueError, OverflowError):
        raise UserNotFoundError("That cursor names no place in the list; start again.") from None


def _erase_audit(connection: Connection, key: Key) -> None:
    """What the audit kept of a deleted person: that something changed stays, the values go."""
    mine = and_(_AUDIT.c.instance_id == key[0], _AUDIT.c.user_id == key[1])
    rows = connection.execute(
        select(_AUDIT.c.sequence, _AUDIT.c.before, _AUDIT.c.after).where(mine)
    ).all()
    for row in rows:
        connection.execute(
            update(_AUDIT)
            .where(_AUDIT.c.sequence == row.sequence)
            .values(before=_impersonal(row.before), after=_impersonal(row.after), reason="")
        )


def _impersonal(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    kept = {key: values[key] for key in ("status", "provider") if key in values}
    if "roles" in values:
        kept["roles"] = {
            role: {source: word | {"reason": ""} for source, word in said.items()}
            for role, said in values["roles"].items()
        }
    return kept


def _grants_of(
    connection: Connection, instance_id: UUID, ids: Sequence[UUID]
) -> dict[UUID, tuple[Grant, ...]]:
    rows = connection.execute(
        select(_GRANTS)
        .where(_GRANTS.c.instance_id == instance_id, _GRANTS.c.user_id.in_(ids))
        .order_by(_GRANTS.c.user_id, _GRANTS.c.role, _GRANTS.c.source)
    ).all()
    return {
        user_id: tuple(_to_grant(row) for row in group)
        for user_id, group in groupby(rows, key=lambda row: row.user_id)
    }


def _to_grant(row: Any) -> Grant:
    return Grant(
        role=row.role,
        source=Source(row.source),
        created_at=row.created_at,
        denies=row.denies,
        actor=row.actor,
        reason=row.reason,
        expires_at=row.expires_at,
    )


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


def _audit_row(entry: AuditEntry, delivery_id: str | None) -> dict[str, Any]:
    return {
        "instance_id": entry.instance_id,
        "user_id": entry.user_id,
        "at": entry.at,
        "actor": entry.actor,
        "action": entry.action,
        "delivery_id": delivery_id,
        "before": entry.before,
        "after": entry.after,
        "reason": entry.reason,
    }


_PLAIN_COLUMNS: Final = (
    "instance_id",
    "id",
    "email",
    "email_key",
    "provider",
    "user_metadata",
    "app_metadata",
    "created_at",
    "updated_at",
    "identity_created_at",
    "confirmed_at",
    "suspended_at",
    "deleted_at",
    "last_seen_at",
    "version",
)


def _to_row(user: User) -> dict[str, Any]:
    row = {name: getattr(user, name) for name in _PLAIN_COLUMNS}
    row["status"] = user.status.value
    row["applied_order"] = user.order
    row["identity_state"] = {
        "seen": sorted(user.seen),
        "sent": user.sent,
        "withdrawn": user.withdrawn,
        "proven": sorted(user.proven),
    }
    return row


def _to_user(row: Any, grants: tuple[Grant, ...]) -> User:
    state = row.identity_state
    return User(
        **{name: getattr(row, name) for name in _PLAIN_COLUMNS},
        order=row.applied_order,
        seen=frozenset(state["seen"]),
        sent=state["sent"],
        withdrawn=state["withdrawn"],
        proven=frozenset(state["proven"]),
        grants=grants,
    )
