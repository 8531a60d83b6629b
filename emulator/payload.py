"""Event bodies in exactly the bytes that Identity sends.

Source: GoTrue ``models/user.go`` (order of keys, what is left out when empty) and Go's
``encoding/json`` (sorted map keys, ``<``, ``>``, ``&`` and U+2028/9 escaped, RFC 3339 times whose
fraction has no trailing zeros).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

ZERO_INSTANCE: Final = UUID(int=0)
_GO_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user as Identity stores it; None and empty texts follow Go's ``omitempty``."""

    id: UUID
    email: str
    aud: str = ""
    role: str = ""
    app_metadata: Mapping[str, Any] | None = field(default_factory=lambda: {"provider": "email"})
    user_metadata: Mapping[str, Any] | None = None
    confirmed_at: datetime | None = None
    invited_at: datetime | None = None
    confirmation_sent_at: datetime | None = None
    recovery_sent_at: datetime | None = None
    new_email: str = ""
    email_change_sent_at: datetime | None = None
    last_sign_in_at: datetime | None = None
    created_at: datetime
    updated_at: datetime


def event_body(event: str, account: Account, instance_id: UUID = ZERO_INSTANCE) -> bytes:
    """The body of one event request."""
    return go_json(
        {"event": event, "instance_id": str(instance_id), "user": user_document(account)}
    )


def user_document(account: Account) -> dict[str, Any]:
    """A user in the order of Go's struct, for ``go_json``; answers of the API have the same."""
    user: dict[str, Any] = {
        "id": str(account.id),
        "aud": account.aud,
        "role": account.role,
        "email": account.email,
        "confirmed_at": account.confirmed_at,
        "invited_at": account.invited_at,
        "confirmation_sent_at": account.confirmation_sent_at,
        "recovery_sent_at": account.recovery_sent_at,
        "new_email": account.new_email or None,
        "email_change_sent_at": account.email_change_sent_at,
        "last_sign_in_at": account.last_sign_in_at,
    }
    user = {key: value for key, value in user.items() if value is not None}
    user["app_metadata"] = go_map(account.app_metadata)
    user["user_metadata"] = go_map(account.user_metadata)
    user["created_at"] = account.created_at
    user["updated_at"] = account.updated_at
    return user


def go_json(value: Any) -> bytes:
    """JSON as Go's encoder writes it; keys stay in the order given."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=_go_time)
    return text.translate(_GO_ESCAPES).encode()


def _go_time(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} is not JSON")
    moment = value.astimezone(UTC)
    fraction = f".{moment.microsecond:06d}".rstrip("0").rstrip(".")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def go_map(value: Any) -> Any:
    """Go writes the keys of a map sorted, at every level."""
    if isinstance(value, Mapping):
        return {key: go_map(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [go_map(item) for item in value]
    return value
