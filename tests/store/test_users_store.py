"""Whatever a User can hold is stored and comes back unchanged; on both databases."""

from __future__ import annotations

from datetime import UTC, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import text

from tests.profiles import examples
from tests.store.store_support import counts, executed, rows, users_of
from tests.support import NOON
from usher.core.app import App
from usher.core.domain.at_identity import AtIdentity
from usher.core.domain.records import AuditEntry, Grant, Source, Status, User, audit
from usher.core.store.users import NEVER

EXAMPLES = settings(
    max_examples=examples(30),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# What strict_json lets in: no U+0000, no half of a surrogate pair, finite numbers.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
ROLES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=100)
FIRST, LAST = (NOON.replace(year=year, tzinfo=None) for year in (2, 9998))
TIMES = st.datetimes(FIRST, LAST, timezones=st.just(UTC))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)
GRANTS = st.lists(
    st.builds(
        Grant,
        role=ROLES,
        source=st.sampled_from(Source),
        created_at=TIMES,
        denies=st.booleans(),
        actor=TEXTS,
        reason=TEXTS,
        expires_at=st.none() | TIMES,
    ),
    max_size=6,
    unique_by=lambda grant: (grant.role, grant.source),
).map(lambda grants: tuple(sorted(grants, key=lambda grant: (grant.role, grant.source))))
MOMENTS = st.dictionaries(ROLES, st.integers(0, 2**40), max_size=3)
AT_IDENTITY = st.builds(
    AtIdentity,
    seen=st.frozensets(ROLES, max_size=3),
    sent=MOMENTS,
    withdrawn=MOMENTS,
    pending=st.booleans(),
)
FIELDS = st.fixed_dictionaries(
    {
        "created_at": TIMES, "updated_at": TIMES, "email": TEXTS, "email_key": TEXTS,
        "provider": TEXTS, "user_metadata": OBJECTS, "app_metadata": OBJECTS,
        "identity_created_at": st.none() | TIMES, "confirmed_at": st.none() | TIMES,
        "suspended_at": st.none() | TIMES, "last_seen_at": st.none() | TIMES.filter(NEVER.__ne__),
        "grants": GRANTS, "at_identity": AT_IDENTITY, "proven": st.frozensets(TEXTS, max_size=3),
        "order": TEXTS, "version": st.integers(1, 2**31 - 1),
    }
)  # fmt: skip


def stored(usher: App, before: User | None, after: User) -> User:
    """The record as it is read after this change."""
    key = (after.instance_id, after.id)
    with usher.store.database.write() as transaction:
        usher.store.users.store(transaction, {key: before} if before else {}, {key: after}, [])
    with usher.store.database.write() as transaction:
        return usher.store.users.load(transaction, [key])[key]


@EXAMPLES
@given(st.uuids(), FIELDS, FIELDS)
def test_any_record_comes_back_as_it_was_stored(
    usher: App, instance: UUID, first: dict[str, Any], second: dict[str, Any]
) -> None:
    """Created, then changed in every field at once: grants, times and all."""
    new = User(instance, uuid4(), **first)
    assert stored(usher, None, new) == new
    changed = replace(new, **second)
    assert stored(usher, new, changed) == changed
    assert users_of(usher, instance).find(str(new.id)) == changed


def test_a_time_of_any_zone_comes_back_in_utc(usher: App) -> None:
    """The moment is kept; the zone it was said in is not."""
    from datetime import timezone

    moment = NOON.replace(microsecond=7).astimezone(timezone(timedelta(hours=-9, minutes=-30)))
    found = stored(usher, None, User(uuid4(), uuid4(), created_at=moment, updated_at=moment))
    assert found.created_at == moment
    assert found.created_at.utcoffset() == timedelta(0)


def test_only_what_differs_is_written(usher: App) -> None:
    """A record that is the very object that was loaded costs no statement."""
    user = User(uuid4(), uuid4(), created_at=NOON, updated_at=NOON)
    key = (user.instance_id, user.id)
    stored(usher, None, user)
    with usher.store.database.write() as transaction:
        before = usher.store.users.load(transaction, [key])
        with executed(usher.store.database) as statements:
            usher.store.users.store(transaction, before, dict(before), [])
    assert statements == []


def test_a_batch_of_many_users_takes_few_statements(usher: App) -> None:
    """However many records: one statement for each table."""
    users = [
        User(UUID(int=0), uuid4(), NOON, NOON, grants=(Grant("a", Source.POLICY, NOON),))
        for _ in range(500)
    ]
    after = {(user.instance_id, user.id): user for user in users}
    entries = [audit("user.created", "x", None, user, NOON) for user in users]
    with usher.store.database.write() as transaction, executed(usher.store.database) as statements:
        usher.store.users.store(transaction, {}, after, entries)  # type: ignore[arg-type]
    assert len(statements) == 5  # four tables, and one look at the end of the ledger
    assert counts(usher.store.database) == {
        "users": 500, "grants": 500, "deliveries": 0, "audit": 500,
    }  # fmt: skip


def store_and_fail(usher: App, after: dict[Any, User], entry: AuditEntry) -> None:
    """Write everything, then raise."""
    with usher.store.database.write() as transaction:
        usher.store.users.store(transaction, {}, after, [replace(entry, delivery_id="d" * 64)])
        assert transaction.sql.execute(text("SELECT count(*) FROM audit")).scalar_one() == 1
        raise ZeroDivisionError


def test_an_exception_in_the_transaction_leaves_nothing(usher: App) -> None:
    """Rolled back unless committed, whatever had been written by then."""
    user = User(uuid4(), uuid4(), NOON, NOON, grants=(Grant("a", Source.POLICY, NOON),))
    entry = AuditEntry("user.created", "x", user.instance_id, user.id, NOON, None, {})
    with pytest.raises(ZeroDivisionError):
        store_and_fail(usher, {(user.instance_id, user.id): user}, entry)
    assert set(counts(usher.store.database).values()) == {0}


@pytest.mark.parametrize("status", list(Status))
def test_the_stored_status_is_the_records(usher: App, status: Status) -> None:
    """Derived from the times, so that filters and records cannot disagree."""
    times: dict[Status, dict[str, Any]] = {
        Status.PENDING: {},
        Status.WAITING: {"confirmed_at": NOON, "waiting_since": NOON},
        Status.ACTIVE: {"confirmed_at": NOON},
        Status.SUSPENDED: {"confirmed_at": NOON, "suspended_at": NOON},
        Status.DELETED: {"deleted_at": NOON, "suspended_at": NOON},
    }
    user = User(uuid4(), uuid4(), NOON, NOON, **times[status])
    assert stored(usher, None, user).status is status
    assert rows(usher.store.database, "SELECT status FROM users") == [(status.value,)]
