"""Which pending records are removed: tables over time, status, decisions and Identity's word."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from tests.support import NOON
from usher.core.domain.events import IdentityUser, read_user
from usher.core.domain.records import Grant, Source, User
from usher.core.domain.unconfirmed import (
    NO_ACCOUNT,
    is_given_up,
    never_confirmed,
    removal,
    why_removed,
    why_removed_by,
)
from usher.emulator.payload import ZERO_INSTANCE

GHOST = User(ZERO_INSTANCE, UUID(int=7), created_at=NOON, updated_at=NOON, email="a@b.example")
DAY, MONTH = NOON + timedelta(days=1), NOON + timedelta(days=30)
MOMENT = timedelta(microseconds=1)


def grant(source: Source, **fields: Any) -> Grant:
    """A grant of a role."""
    return Grant("editor", source, NOON, **fields)


DECIDED = [
    {"grants": (grant(Source.ADMINISTRATOR),)},
    {"grants": (grant(Source.ADMINISTRATOR, denies=True),)},
    {"extra_app_metadata": {"plan": None}},
    {"profile": {"name": "Ada"}},
]
EVER_ACTIVE = [
    {"confirmed_at": NOON},
    {"last_seen_at": NOON},
    {"suspended_at": NOON},
    {"confirmed_at": NOON, "suspended_at": NOON},
    {"deleted_at": NOON},
]


@pytest.mark.parametrize(
    ("fields", "now", "goes"),
    [
        ({}, MONTH, True),
        ({}, MONTH - MOMENT, False),
        ({"updated_at": NOON + MOMENT}, MONTH, False),
        ({"updated_at": NOON - timedelta(days=1)}, MONTH - MOMENT, False),
        ({"grants": (grant(Source.POLICY), grant(Source.IDENTITY))}, MONTH, True),
        *((fields, MONTH, False) for fields in (*EVER_ACTIVE, *DECIDED)),
    ],
)
def test_a_record_goes_by_its_age_alone(fields: Any, now: datetime, goes: bool) -> None:
    """Nothing that was ever active, nor anything that an administrator decided about."""
    found = why_removed(replace(GHOST, **fields), now, 30)
    assert found == ("not confirmed within 30 days" if goes else "")


def account(**fields: Any) -> IdentityUser:
    """An account, as Identity's admin API shows it."""
    times = {name: moment.isoformat() for name, moment in fields.items()}
    return read_user({"id": str(GHOST.id), "email": "a@b.example", **times})


@pytest.mark.parametrize(
    ("there", "fields", "now", "why"),
    [
        (None, {}, DAY, NO_ACCOUNT),
        (None, {}, DAY - MOMENT, ""),
        (None, {"updated_at": NOON + MOMENT}, DAY, ""),
        (account(), {}, DAY, ""),
        (account(), {}, MONTH, never_confirmed(30)),
        (account(), {}, MONTH - MOMENT, ""),
        (account(confirmed_at=NOON), {}, MONTH, ""),
        *((None, fields, MONTH, "") for fields in EVER_ACTIVE),
        *((account(), fields, MONTH, "") for fields in (*EVER_ACTIVE, *DECIDED)),
        *((None, fields, DAY, NO_ACCOUNT) for fields in DECIDED),
    ],
)
def test_a_record_goes_by_identitys_word(there: Any, fields: Any, now: datetime, why: str) -> None:
    """Without an account after a day; with one that nobody confirmed, by age alone."""
    assert why_removed_by(there, replace(GHOST, **fields), now, 30) == why


@pytest.mark.parametrize(
    ("fields", "days", "now", "is_so"),
    [
        ({"created_at": NOON}, 30, MONTH, True),
        ({"created_at": NOON}, 30, MONTH - MOMENT, False),
        ({"created_at": NOON}, 0, MONTH, False),
        ({"created_at": NOON, "confirmed_at": NOON}, 30, MONTH, False),
        ({}, 30, MONTH, False),
    ],
)
def test_an_account_that_was_given_up_needs_no_record(
    fields: Any, days: int, now: datetime, is_so: bool
) -> None:
    """Else a sync would make again what maintenance removed."""
    assert is_given_up(account(**fields), now, days) is is_so


def test_the_audit_of_a_removal_holds_nothing_personal() -> None:
    """The id, the status, the reason."""
    entry = removal(GHOST, "usher", MONTH, never_confirmed(1))
    told = (entry.action, entry.before, entry.after)
    assert told == ("user.removed", {"status": "pending"}, {"status": "removed"})
    assert entry.reason == "not confirmed within 1 day"
    assert "a@b.example" not in repr(entry)
