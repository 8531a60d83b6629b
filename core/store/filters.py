"""The filters and orders of lists, for those who ask; no list is needed to name them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from msgspec import Struct

from usher.core.domain.records import Status

ACTIONS: Final = (
    "user.invited",
    "user.created",
    "user.changed",
    "user.suspended",
    "user.reactivated",
    "user.deleted",
    "user.removed",
    "user.approved",
    "request.made",
    "request.withdrawn",
    "request.declined",
    "role.granted",
    "role.revoked",
    "role.ended",
    "roles.set",
    "event.denied",
    "event.replayed",
    "policy.reloaded",
    "policy.promoted",
    "codes.made",
    "code.revoked",
    "key.created",
    "key.revoked",
    "outbox.retried",
    "outbox.skipped",
    "outbox.forgotten",
    "sink.added",
    "sink.rotated",
    "sink.paused",
    "sink.resumed",
    "sink.removed",
)
"""The actions of the audit."""


class Sort(StrEnum):
    """The orders of a list of users."""

    CREATED = "created"
    LAST_SEEN = "last_seen"
    EMAIL = "email"


class UserFilters(Struct, frozen=True):
    """Filters of a list of users; None or empty: no filter. ``…_until`` is excluded."""

    status: Status | None = None
    role: str = ""
    provider: str = ""
    email_prefix: str = ""
    created_since: datetime | None = None
    created_until: datetime | None = None
    seen_since: datetime | None = None
    seen_until: datetime | None = None


class AuditFilters(Struct, frozen=True):
    """Filters of a list of entries; None or empty: no filter. ``until`` is excluded."""

    user_id: UUID | None = None
    actor: str = ""
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None


class DeliveryFilters(Struct, frozen=True):
    """Filters of a list of deliveries; None or empty: no filter. ``until`` is excluded."""

    event: str = ""
    outcome: str = ""
    user_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
