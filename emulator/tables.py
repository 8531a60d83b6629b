"""The emulator's own tables, apart from Usher's: no migration and no model of ours knows them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Dialect,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.types import TypeDecorator

from usher.emulator.addresses import address_key


class Moment(TypeDecorator[datetime]):
    """UTC, rounded to whole seconds as MySQL's DATETIME is, as text that sorts by time."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """To text."""
        if value is None:
            return None
        rounded = (value + timedelta(microseconds=500_000)).replace(microsecond=0)
        return rounded.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From text."""
        return None if value is None else datetime.fromisoformat(value)


class Id(TypeDecorator[UUID]):
    """A UUID as text."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: UUID | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """To text."""
        return None if value is None else str(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> UUID | None:  # noqa: ARG002
        """From text."""
        return None if value is None else UUID(value)


metadata = MetaData()

users = Table(
    "users",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Id, nullable=False, unique=True),
    Column("email", String, nullable=False),
    Column("address_key", String, nullable=False),  # the address as look-ups compare it
    Column("aud", String, nullable=False),
    Column("role", String, nullable=False),
    Column("app_metadata", JSON(none_as_null=True)),
    Column("user_metadata", JSON(none_as_null=True)),
    Column("confirmed_at", Moment),
    Column("invited_at", Moment),
    Column("confirmation_sent_at", Moment),
    Column("recovery_sent_at", Moment),
    Column("new_email", String, nullable=False),
    Column("email_change_sent_at", Moment),
    Column("password", String, nullable=False),
    Column("confirmation_token", String, nullable=False, index=True),
    Column("recovery_token", String, nullable=False, index=True),
    Column("email_change_token", String, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Index("users_address_key", "address_key", "aud"),  # not unique, nor is GoTrue's
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("token", String, primary_key=True),
    Column("user_id", Id, nullable=False, index=True),
    Column("created_at", Moment, nullable=False),
    Column("revoked", Boolean, nullable=False),
)

mails = Table(
    "mails",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("to", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("token", String, nullable=False),
    Column("link", String, nullable=False),
    Column("at", Moment, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Id, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("created_at", Moment, nullable=False),
)


def prepare(connection: Connection) -> None:
    """Make the tables; a file of an older emulator keeps its accounts, and loses its logins."""
    inspector = inspect(connection)
    there = set(inspector.get_table_names())

    def lacks(table: Table, column: str) -> bool:
        if table.name not in there:
            return False
        return column not in {found["name"] for found in inspector.get_columns(table.name)}

    if lacks(users, "address_key"):
        connection.execute(
            text("ALTER TABLE users ADD COLUMN address_key VARCHAR NOT NULL DEFAULT ''")
        )
        for number, email in connection.execute(select(users.c.number, users.c.email)).all():
            which = update(users).where(users.c.number == number)
            connection.execute(which.values(address_key=address_key(email)))
        for index in users.indexes:
            index.create(connection, checkfirst=True)
    if lacks(refresh_tokens, "created_at"):
        refresh_tokens.drop(connection)
    metadata.create_all(connection)
