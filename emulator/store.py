"""All SQL of the emulator. A request reads as it likes and writes once, at its end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from threading import Lock
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from usher.core.store.database import Database
from usher.emulator import tables
from usher.emulator.accounts import Record
from usher.emulator.addresses import address_key
from usher.emulator.mail import KEPT, Mail

_FIELDS: Final = tuple(
    column for column in tables.users.columns if column.name not in ("number", "address_key")
)
_NAMES: Final = frozenset(column.name for column in _FIELDS)
_MAPS: Final = ("app_metadata", "user_metadata")
_STORED_ONCE: Final = frozenset({"id", "updated_at"})
_AUDITED: Final = {
    "author": ("actor_email", "actor_name"),
    "action": ("action",),
    "type": ("log_type",),
}


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """One refresh token."""

    token: str
    user_id: UUID
    created_at: datetime
    revoked: bool = False


class Work:
    """The writes of a request, in order; nothing is written until the store commits them.

    Attributes:
        accounts: ids of the accounts whose rows are written.
        held: ids of the accounts whose rows this request has locked.
    """

    def __init__(self) -> None:
        self.steps: list[Callable[[Connection], object]] = []
        self.mails: list[Mail] = []
        self.accounts: set[UUID] = set()
        self.held: set[UUID] = set()

    def create(self, record: Record) -> None:
        """A new account, as it is at the commit."""
        self.steps.append(partial(_create, record))

    def save(self, record: Record) -> None:
        """The columns of an account that are written by the commit; never ``updated_at``."""
        self.accounts.add(record.id)
        self.steps.append(partial(_save, record))

    def delete(self, user_id: UUID) -> None:
        """An account and its refresh tokens."""
        self.accounts.add(user_id)
        self.log_out(user_id)
        self._run(delete(tables.users).where(tables.users.c.id == user_id))

    def grant(self, token: RefreshToken) -> None:
        """A new refresh token."""
        self._run(insert(tables.refresh_tokens).values(**asdict(token)))

    def revoke(self, token: RefreshToken) -> None:
        """One refresh token."""
        self._revoke(tables.refresh_tokens.c.token == token.token)

    def log_out(self, user_id: UUID) -> None:
        """Delete all refresh tokens of an account."""
        table = tables.refresh_tokens
        self._run(delete(table).where(table.c.user_id == user_id))

    def mail(self, mail: Mail) -> None:
        """Keep a mail, and drop the oldest beyond the limit."""
        self.mails.append(mail)
        self._run(insert(tables.mails).values(**asdict(mail)))
        newest = select(func.max(tables.mails.c.number)).scalar_subquery()
        self._run(delete(tables.mails).where(tables.mails.c.number <= newest - KEPT))

    def audit(self, row: Mapping[str, Any]) -> None:
        """An entry of the audit log."""
        self._run(insert(tables.audit).values(**row))

    def _revoke(self, which: ColumnElement[bool]) -> None:
        self._run(update(tables.refresh_tokens).where(which).values(revoked=True))

    def _run(self, statement: Any) -> None:
        self.steps.append(lambda connection: connection.execute(statement))


class Store:
    """The SQLite file of one Identity; its tables are made as it opens."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self._writing = Lock()  # in turn, where SQLite would only wait so long
        with self._database.write() as transaction:
            tables.prepare(transaction.sql)

    def close(self) -> None:
        """Close every connection."""
        self._database.dispose()

    def commit(self, work: Work) -> None:
        """Write everything or nothing."""
        with self._writing, self._database.write() as transaction:
            connection = transaction.sql
            for step in work.steps:
                step(connection)

    def by_id(self, user_id: UUID) -> Record | None:
        """The account."""
        return self._find(tables.users.c.id == user_id)

    def by_email(self, aud: str, email: str) -> Record | None:
        """The oldest account with this address, whatever the case and accents."""
        columns = tables.users.c
        return self._find((columns.address_key == address_key(email)) & (columns.aud == aud))

    def by_confirmation_token(self, token: str) -> Record | None:
        """The account that this link was sent to; an empty token finds none."""
        return self._find(tables.users.c.confirmation_token == token) if token else None

    def by_recovery_token(self, token: str) -> Record | None:
        """The account that this link was sent to; an empty token finds none."""
        return self._find(tables.users.c.recovery_token == token) if token else None

    def refresh_token(self, token: str) -> RefreshToken | None:
        """A refresh token, revoked ones too."""
        table = tables.refresh_tokens
        with self._database.read() as transaction:
            row = (
                transaction.sql.execute(select(table).where(table.c.token == token))
                .mappings()
                .first()
            )
        return None if row is None else RefreshToken(**row)

    def users(
        self, aud: str, text: str, order: Sequence[str], page: int, per_page: int
    ) -> tuple[list[Record], int]:
        """A page of accounts and how many there are; ``order`` has ``asc`` and ``desc``."""
        columns = tables.users.c
        which = columns.aud == aud
        if text:
            full_name = columns.user_metadata["full_name"].as_string()
            which &= or_(columns.email.ilike(f"%{text}%"), full_name.ilike(f"%{text}%"))
        keys = [getattr(columns.created_at, direction)() for direction in order]
        last = order[-1] if order else "desc"
        rows, count = self._page(
            tables.users, which, [*keys, getattr(columns.number, last)()], page, per_page
        )
        return [_record(row) for row in rows], count

    def audits(
        self, scope: str, text: str, page: int, per_page: int
    ) -> tuple[list[dict[str, Any]], int]:
        """A page of audit entries, newest first, and how many there are."""
        columns = tables.audit.c
        which: ColumnElement[bool] = columns.number > 0
        if text:
            names = _AUDITED[scope]
            which = or_(*[columns.payload[n].as_string().ilike(f"%{text}%") for n in names])
        rows, count = self._page(tables.audit, which, [columns.number.desc()], page, per_page)
        found = [
            {"id": str(row["id"]), "payload": row["payload"], "created_at": row["created_at"]}
            for row in rows
        ]
        return found, count

    def mails(self) -> list[Mail]:
        """Every mail kept, newest first."""
        table = tables.mails
        statement = select(table.c.to, table.c.kind, table.c.token, table.c.link, table.c.at)
        with self._database.read() as transaction:
            rows = transaction.sql.execute(statement.order_by(table.c.number.desc()))
            return [Mail(**row) for row in rows.mappings()]

    def empty_mails(self) -> None:
        """Forget every mail."""
        with self._writing, self._database.write() as transaction:
            transaction.sql.execute(delete(tables.mails))

    def _find(self, which: ColumnElement[bool]) -> Record | None:
        statement = select(*_FIELDS).where(which).order_by(tables.users.c.number).limit(1)
        with self._database.read() as transaction:
            row = transaction.sql.execute(statement).mappings().first()
        return None if row is None else _record(row)

    def _page(
        self, table: Table, which: ColumnElement[bool], order: list[Any], page: int, per_page: int
    ) -> tuple[Sequence[RowMapping], int]:
        statement = select(table).where(which).order_by(*order)
        statement = statement.limit(per_page).offset((max(page, 1) - 1) * per_page)
        with self._database.read() as transaction:
            count = transaction.sql.execute(select(func.count()).select_from(table).where(which))
            return transaction.sql.execute(statement).mappings().all(), count.scalar_one()


def audit_scope(query: str) -> tuple[str, str] | None:
    """``author:ada`` and the like, taken apart; None: there is no such scope."""
    scope, colon, text = query.partition(":")
    return (scope, text) if colon and scope in _AUDITED else None


def _record(row: RowMapping) -> Record:
    values: dict[str, Any] = {column.name: row[column.name] for column in _FIELDS}
    return Record(**{name: _stored(name, value) for name, value in values.items()})


def _create(record: Record, connection: Connection) -> None:
    connection.execute(insert(tables.users).values(**_values(record, _NAMES)))


def _save(record: Record, connection: Connection) -> None:
    written = record.written & _NAMES - _STORED_ONCE
    if written:
        table = tables.users
        values = _values(record, written)
        connection.execute(update(table).where(table.c.id == record.id).values(**values))


def _values(record: Record, names: Collection[str]) -> dict[str, Any]:
    values = {name: _stored(name, getattr(record, name)) for name in names}
    return values | {"address_key": address_key(record.email)} if "email" in names else values


def _stored(name: str, value: Any) -> Any:
    """A map of nothing where there is none: the database has no null there."""
    return {} if value is None and name in _MAPS else value
