"""Event bodies in exactly the bytes that Identity sends.

Source: GoTrue ``models/user.go`` (order of keys, fields left out when empty) and Go's
``encoding/json`` (sorted map keys, ``<``, ``>``, ``&`` and U+2028/9 escaped, numbers as float64,
RFC 3339 times whose fraction has no trailing zeros).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from msgspec import Struct, field

ZERO_INSTANCE: Final = UUID(int=0)
_EXACT_INTEGERS: Final = 2**53
_SMALLEST_PLAIN: Final = 1e-6
_LARGEST_PLAIN: Final = 1e21
_GO_ESCAPES = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


class Account(Struct, frozen=True, kw_only=True):
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
    return _go_text(value).translate(_GO_ESCAPES).encode()


def go_number(value: float) -> str:
    """A number as Go writes a float64: plain from 1e-6 to 1e21, else with an exponent."""
    if isinstance(value, int) and abs(value) <= _EXACT_INTEGERS:
        return str(value)
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is not JSON")
    if number == 0 or _SMALLEST_PLAIN <= abs(number) < _LARGEST_PLAIN:
        return format(Decimal(repr(number)), "f").removesuffix(".0")
    return repr(number).replace("e-0", "e-")


def _go_text(value: Any) -> str:
    match value:
        case None | bool() | str():
            return json.dumps(value, ensure_ascii=False)
        case int() | float():
            return go_number(value)
        case datetime():
            return f'"{_go_time(value)}"'
        case Mapping():
            members = (f"{_go_text(str(key))}:{_go_text(item)}" for key, item in value.items())
            return "{" + ",".join(members) + "}"
        case list() | tuple():
            return "[" + ",".join(map(_go_text, value)) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} is not JSON")


def _go_time(value: datetime) -> str:
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
