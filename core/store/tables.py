"""The tables, as SQLModel classes. Only ``usher.core.store`` builds statements on them.

Dialect-specific DDL (WITHOUT ROWID, partial indexes) lives in the migrations. Declared here, it
would import both dialects at every cold start.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, Final
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime: timestamptz on PostgreSQL, ISO 8601 text in UTC on SQLite.

    The text always has six fraction digits, so that it sorts by time. Ten of these run for every
    event, so the processors are plain functions, without SQLAlchemy's wrapper around each value.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:
        """From Python to the database."""
        return _to_text if dialect.name == "sqlite" else None

    def result_processor(self, dialect: Dialect, coltype: object) -> Any:  # noqa: ARG002
        """From the database to Python."""
        return _from_text if dialect.name == "sqlite" else _in_utc


@lru_cache(maxsize=256)  # a batch holds the same time in many columns
def _to_text(value: datetime | None) -> str | None:
    return value.astimezone(UTC).isoformat(timespec="microseconds") if value else None


def _from_text(value: str | None) -> datetime | None:
    return datetime.fromisoformat(value) if value else None


def _in_utc(value: datetime | None) -> datetime | None:
    return value.astimezone(UTC) if value else None


# Prefix look-ups are ranges, which need the order of code points and not of a language.
_ORDERED_TEXT = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite numbers rows only in a column declared exactly INTEGER.
_SERIAL = BigInteger().with_variant(Integer(), "sqlite")


class UserRow(SQLModel, table=True):
    """One user; ``identity_state`` holds ``User.at_identity`` and ``proven``."""

    __tablename__: ClassVar[Any] = "users"
    __table_args__ = (
        Index("users_email", "instance_id", "email_key", "id"),
        Index("users_created", "instance_id", "created_at", "id"),
        Index("users_last_seen", "instance_id", "last_seen_at", "created_at", "id"),
    )

    instance_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    email: str = Field(sa_column=Column(Text, nullable=False))
    email_key: str = Field(sa_column=Column(_ORDERED_TEXT, nullable=False))
    provider: str = Field(sa_column=Column(Text, nullable=False))
    user_metadata: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    app_metadata: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    profile: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    extra_app_metadata: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    identity_state: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    updated_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    identity_created_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    confirmed_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    suspended_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    deleted_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    last_seen_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    applied_order: str = Field(sa_column=Column(Text, nullable=False))
    version: int = Field(sa_column=Column(Integer, nullable=False))


class GrantRow(SQLModel, table=True):
    """One source's word about one role of one user."""

    __tablename__: ClassVar[Any] = "grants"
    __table_args__ = (
        Index("grants_role", "instance_id", "role", "created_at", "user_id"),
        Index("grants_end", "expires_at"),
    )

    instance_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    user_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    role: str = Field(sa_column=Column(String(100), primary_key=True))
    source: str = Field(sa_column=Column(String(16), primary_key=True))
    denies: bool = Field(sa_column=Column(Boolean, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    expires_at: datetime | None = Field(sa_column=Column(UtcDateTime))


class DeliveryRow(SQLModel, table=True):
    """One delivery with its outcome and reply. ``sequence`` is the order of arrival.

    ``address_key`` is set for people whom the policy refused, who often have no record.
    """

    __tablename__: ClassVar[Any] = "deliveries"
    __table_args__ = (
        Index("deliveries_received", "instance_id", "received_at", "sequence"),
        Index("deliveries_user", "instance_id", "user_id", "received_at", "sequence"),
    )

    sequence: int | None = Field(
        default=None, sa_column=Column(_SERIAL, primary_key=True, autoincrement=True)
    )
    id: str = Field(sa_column=Column(_ORDERED_TEXT, nullable=False, unique=True))
    instance_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    event: str = Field(sa_column=Column(Text, nullable=False))
    user_id: UUID | None = Field(sa_column=Column(Uuid))
    issued_at: int = Field(sa_column=Column(BigInteger, nullable=False))
    received_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    path: str = Field(sa_column=Column(Text, nullable=False))
    body: bytes | None = Field(sa_column=Column(LargeBinary))
    body_digest: str = Field(sa_column=Column(String(64), nullable=False))
    key_index: int = Field(sa_column=Column(Integer, nullable=False))
    outcome: str = Field(sa_column=Column(String(16), nullable=False))
    reasons: list[Any] = Field(sa_column=Column(JSON, nullable=False))
    policy: str = Field(sa_column=Column(String(12), nullable=False))
    origin: str = Field(sa_column=Column(String(8), nullable=False))
    reply_status: int = Field(sa_column=Column(Integer, nullable=False))
    reply_type: str = Field(sa_column=Column(Text, nullable=False))
    reply_body: str = Field(sa_column=Column(Text, nullable=False))
    address_key: str | None = Field(sa_column=Column(_ORDERED_TEXT))


class AuditRow(SQLModel, table=True):
    """One change of one record. Only the erasure of a deleted user's data rewrites a row."""

    __tablename__: ClassVar[Any] = "audit"
    __table_args__ = (
        Index("audit_at", "instance_id", "at", "sequence"),
        Index("audit_user", "instance_id", "user_id", "at", "sequence"),
    )

    sequence: int | None = Field(
        default=None, sa_column=Column(_SERIAL, primary_key=True, autoincrement=True)
    )
    instance_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    user_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    action: str = Field(sa_column=Column(Text, nullable=False))
    delivery_id: str | None = Field(sa_column=Column(String(72)))
    ledger_position: int | None = Field(sa_column=Column(BigInteger))
    before: dict[str, Any] | None = Field(sa_column=Column(JSON(none_as_null=True)))
    after: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    reason: str = Field(sa_column=Column(Text, nullable=False))


class PushRow(SQLModel, table=True):
    """One pending push. ``lease`` names the server that makes it; NULL: none does."""

    __tablename__: ClassVar[Any] = "pushes"
    __table_args__ = (Index("pushes_due", "next_try_at"),)

    instance_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    user_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    since: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    tries: int = Field(sa_column=Column(Integer, nullable=False))
    next_try_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    lease: UUID | None = Field(sa_column=Column(Uuid))
    error: str = Field(sa_column=Column(Text, nullable=False))


class RequestRow(SQLModel, table=True):
    """One request (``domain.requests.Request``); ``role`` is NULL where it is to be let in."""

    __tablename__: ClassVar[Any] = "requests"
    __table_args__ = (
        Index("requests_user", "instance_id", "user_id", "id"),
        Index("requests_state", "instance_id", "state", "id"),
    )

    id: int | None = Field(
        default=None, sa_column=Column(_SERIAL, primary_key=True, autoincrement=True)
    )
    instance_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    user_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    role: str | None = Field(sa_column=Column(String(100)))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    state: str = Field(sa_column=Column(String(16), nullable=False))
    message: str = Field(sa_column=Column(Text, nullable=False))
    actor: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    decided_at: datetime | None = Field(sa_column=Column(UtcDateTime))


class SyncRow(SQLModel, table=True):
    """One instance's sync: the newest run, and what the last complete run left.

    ``lease`` names the process that makes the run, until ``lease_until``; NULL: none does.
    """

    __tablename__: ClassVar[Any] = "syncs"

    instance_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    run_id: UUID = Field(sa_column=Column(Uuid, nullable=False))
    plan: str = Field(sa_column=Column(String(16), nullable=False))
    started_at: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    progress: dict[str, Any] = Field(sa_column=Column(JSON, nullable=False))
    lease: UUID | None = Field(sa_column=Column(Uuid))
    lease_until: datetime = Field(sa_column=Column(UtcDateTime, nullable=False))
    completed_at: datetime | None = Field(sa_column=Column(UtcDateTime))
    completed_plan: str = Field(sa_column=Column(String(16), nullable=False))
    completed_left: dict[str, int] = Field(sa_column=Column(JSON, nullable=False))


class SyncMarkRow(SQLModel, table=True):
    """The mark of a run on one user (``sync_plan.Mark``), removed when the run is complete."""

    __tablename__: ClassVar[Any] = "sync_marks"

    run_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    user_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    mark: int = Field(sa_column=Column(SmallInteger, nullable=False))


INSTANCES: Final = Table(
    "instances",
    SQLModel.metadata,
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("instance_id", Uuid, nullable=False, unique=True),
    Column("how", String(16), nullable=False),
    Column("adopted_at", UtcDateTime, nullable=False),
    Column("delivery_id", String(72)),
)
"""An adopted instance. There is one, in the slot 1, so that two first events adopt one.

``how`` is ``domain.instances.How``; ``delivery_id`` is the event that named it, if one did. One
row needs no class, which would cost a cold start 1 %.
"""


CODES: Final = Table(
    "codes",
    SQLModel.metadata,
    Column("id", Uuid, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("label", Text, nullable=False),
    Column("allowed", Integer, nullable=False),
    Column("used", Integer, CheckConstraint("used >= 0 AND used <= allowed"), nullable=False),
    Column("roles", JSON, nullable=False),
    Column("roles_until", UtcDateTime),
    Column("ends_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("revoked_at", UtcDateTime),
    Index("codes_created", "created_at", "id"),
)
"""Invitation codes (``domain.codes.Code``). They are the site's, of no instance: the first ones may
be made before any event names one."""
CODE_USES: Final = Table(
    "code_uses",
    SQLModel.metadata,
    Column("instance_id", Uuid, primary_key=True),
    Column("user_id", Uuid, primary_key=True),
    Column("code_id", Uuid, primary_key=True),
    Column("used_at", UtcDateTime, nullable=False),
    Index("code_uses_code", "code_id", "used_at", "user_id"),
)
"""The accounts that used a code; kept for good, as their ids are."""
TALLIES: Final = Table(
    "tallies",
    SQLModel.metadata,
    Column("instance_id", Uuid, primary_key=True),
    Column("place", _ORDERED_TEXT, primary_key=True),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("people", Integer, nullable=False),
    Index("tallies_end", "ends_at"),
)
"""People counted for a quota, by ``domain.quotas.Place.key``."""
SHADOWS: Final = Table(
    "shadows",
    SQLModel.metadata,
    Column("source", Text, primary_key=True),
    Column("run_id", Uuid, nullable=False),
    Column("fingerprint", String(12), nullable=False),
    Column("live", String(12), nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("newest", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("trying", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("lease", Uuid),
    Column("lease_until", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("error", Text, nullable=False),
    Column("failed_at", UtcDateTime),
)
"""How far a shadow policy has followed the ledger (``usher.core.store.shadows.Run``).

``lease`` names the server that follows, until ``lease_until``; NULL: none does.
"""
DIFFERENCES: Final = Table(
    "shadow_differences",
    SQLModel.metadata,
    Column("run_id", Uuid, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("change", String(16), primary_key=True),
    Column("role", String(100), primary_key=True),
    Column("rule", String(100), nullable=False),
    Column("text", Text, nullable=False),
    Column("delivery_id", String(72), nullable=False),
    Column("instance_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("event", String(16), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Index("shadow_at", "at"),
)
"""One difference that a shadow policy would have made; of a person the ids alone."""

CONSUMERS: Final = Table(
    "outbox_consumers",
    SQLModel.metadata,
    Column("name", _ORDERED_TEXT, primary_key=True),
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, nullable=False),
    Column("part", SmallInteger, nullable=False),
    Column("trying", BigInteger, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("lease", Uuid),
    Column("lease_until", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("kinds", JSON, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
)
"""How far a handler or a sink (``handler:NAME``, ``sink:ID``) has come with the audit.

All entries up to ``position`` are handed over, or stand in ``OUTBOX``; of that one itself the
changes up to ``part`` (-1: all of them). A shard has the users of a
quarter of all ids. ``lease`` names the server that works on it, until ``lease_until``; NULL: none
does. Where processes end while they work, ``trying`` is the entry that is looked at alone, for the
``tries``-th time; 0: none. ``kinds`` are those that the consumer is for, as the server has it that
was started last, at ``started_at``; one that has other kinds leaves it alone.
"""
OUTBOX: Final = Table(
    "outbox",
    SQLModel.metadata,
    Column("id", _SERIAL, primary_key=True, autoincrement=True),
    Column("consumer", _ORDERED_TEXT, nullable=False),
    Column("shard", SmallInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("part", SmallInteger, nullable=False),
    Column("instance_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("role", String(100), nullable=False),
    Column("change_id", String(40), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False),
    Column("due_at", UtcDateTime),
    Column("error", Text, nullable=False),
    Column("failed_at", UtcDateTime),
    UniqueConstraint("consumer", "sequence", "part", name="outbox_change"),
    Index("outbox_user", "instance_id", "user_id", "consumer", "sequence", "part"),
    Index("outbox_due", "due_at", "consumer", "shard"),
    Index("outbox_state", "state", "id"),
    Index("outbox_counts", "consumer", "state", "at"),
)
"""Changes that were not handed over at once (``domain.outbox_queue.Waiting``): those that failed,
those too young, and those of the same person behind them, whose ``due_at`` is NULL.
"""
LEFT_KEYS: Final = Table(
    "left_keys",
    SQLModel.metadata,
    Column("instance_id", Uuid, primary_key=True),
    Column("user_id", Uuid, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Index("left_keys_at", "at"),
)
"""People who are deleted, and in whose entry of the audit stands what handlers wrote (``LEFT``)."""
SILENT: Final = Table(
    "outbox_silent",
    SQLModel.metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
)
"""Entries of the audit that nobody is told of: administrators' acts that were played back."""
SINKS: Final = Table(
    "sinks",
    SQLModel.metadata,
    Column("id", Uuid, primary_key=True),
    Column("url", Text, nullable=False),
    Column("kinds", JSON, nullable=False),
    Column("full", Boolean, nullable=False),
    Column("secrets", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("paused_at", UtcDateTime),
    Column("paused_by", Text, nullable=False),
)
"""Receivers of changes by webhook; of ``secrets`` the newest is the first."""
KEYS: Final = Table(
    "keys",
    SQLModel.metadata,
    Column("name", _ORDERED_TEXT, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Column("used_at", UtcDateTime),
    Index("keys_created", "created_at", "name"),
)
"""Machine credentials (``domain.keys.ApiKey``), as digests; kept for good, as their names are."""


class CounterRow(SQLModel, table=True):
    """One shard of a counter; the sum of its shards counts (``usher.core.store.counters``)."""

    __tablename__: ClassVar[Any] = "counters"

    instance_id: UUID = Field(sa_column=Column(Uuid, primary_key=True))
    name: str = Field(sa_column=Column(_ORDERED_TEXT, primary_key=True))
    shard: int = Field(sa_column=Column(Integer, primary_key=True))
    value: int = Field(sa_column=Column(BigInteger, nullable=False))


USERS: Final[Table] = UserRow.__table__  # type: ignore[attr-defined]
GRANTS: Final[Table] = GrantRow.__table__  # type: ignore[attr-defined]
DELIVERIES: Final[Table] = DeliveryRow.__table__  # type: ignore[attr-defined]
AUDIT: Final[Table] = AuditRow.__table__  # type: ignore[attr-defined]
PUSHES: Final[Table] = PushRow.__table__  # type: ignore[attr-defined]
REQUESTS: Final[Table] = RequestRow.__table__  # type: ignore[attr-defined]
SYNCS: Final[Table] = SyncRow.__table__  # type: ignore[attr-defined]
MARKS: Final[Table] = SyncMarkRow.__table__  # type: ignore[attr-defined]
COUNTERS: Final[Table] = CounterRow.__table__  # type: ignore[attr-defined]
