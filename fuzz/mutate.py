"""Changes to JSON documents that stay JSON: plain bytes rarely get past a strict parser."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

ODD: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, 2**31, 2**64, 10**30, "", " ", "a", "A@B.c",
    "a@b@c", "x <a@example.com>", "\u00df@stra\u00dfe.de", "e\u0301", "\u0130", "\U0001f600",
    "owner@example.com", "2026-11-23T12:00:00Z", "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59", "2026-02-29T00:00:00Z", "2026-11-23T12:00:60Z",
    "00000000-0000-0000-0000-000000000000", "null", "signup", "login", "validate", "usermodified",
    "userdeleted", "email", "google", "admin", "member", "\x7f", "\u2028", "\ufeff",
    [], {}, [[]], [None], ["admin"], ["admin", "admin"], {"roles": ["admin"]}, {"": ""},
)  # fmt: skip


def mutate_json(text: bytes, random: Random) -> bytes | None:
    """The document with one to three of its places changed; None where it is no JSON."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for _ in range(random.randint(1, 3)):
        document = _changed(document, random)
    ascii_only = random.random() < 0.5
    return json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")


def _changed(value: Any, random: Random) -> Any:
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        chance = random.random()
        if chance < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if chance < 0.2:
            return {**value, str(random.choice(ODD)): value[key]}
        return {**value, key: _changed(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.7:
        place = random.randrange(len(value))
        changed = _changed(value[place], random)
        return [*value[:place], changed, *value[place + random.randint(0, 1) :]]
    return random.choice(ODD)
