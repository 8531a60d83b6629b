"""The user service: finding one user, and listing many page by page; on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from msgspec.structs import replace

from tests.store.store_support import deliver, users_of
from tests.support import NOON, Clock, account, signed
from usher.core.app import App
from usher.core.domain.events import email_key
from usher.core.domain.records import Grant, Source, Status, User
from usher.core.errors import AmbiguousUserError, SeveralInstancesError, UserNotFoundError
from usher.core.store.filters import UserFilters
from usher.core.store.keyset import MAX_PAGE

INSTANCE, OTHER = UUID(int=0), UUID(int=1)


def user(email: str = "ada@example.com", minutes: int = 0, **fields: object) -> User:
    """A new active user, created so many minutes after noon."""
    moment = NOON + timedelta(minutes=minutes)
    values: dict[str, Any] = {
        "instance_id": INSTANCE,
        "id": uuid4(),
        "confirmed_at": moment,
    } | fields
    return User(
        created_at=moment, updated_at=moment, email=email, email_key=email_key(email), **values
    )


def save(usher: App, *users: User) -> list[User]:
    """Put records into the database as they are."""
    with usher.store.database.write() as connection:
        after = {(each.instance_id, each.id): each for each in users}
        usher.store.users.store(connection, {}, after, [])
    return list(users)


def listed(usher: App, limit: int = 50, **filters: object) -> list[User]:
    """Every user of a listing, page by page."""
    found: list[User] = []
    cursor = None
    for _ in range(300):
        page = usher.store.users.page(UserFilters(**filters), limit=limit, cursor=cursor)  # type: ignore[arg-type]
        assert len(page.items) <= limit
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError("the listing does not end")


# --- one ------------------------------------------------------------------------------------------


def test_a_user_is_found_by_id_in_any_spelling(usher: App) -> None:
    """Ids are UUIDs: letter case makes no other user."""
    (ada, _) = save(usher, user(), user("bob@example.com"))
    assert usher.store.users.find(str(ada.id)) == ada
    assert usher.store.users.find(str(ada.id).upper()) == ada


@pytest.mark.parametrize(
    "handle", ["Zoë@Example.com", "ZOË@EXAMPLE.COM", " zoe\u0308@example.com "]
)
def test_a_user_is_found_by_address_in_any_spelling(usher: App, handle: str) -> None:
    """Letter case, composition and surrounding spaces are not told apart."""
    (zoe, _) = save(usher, user("Zoë@example.com"), user("zoe@example.com"))
    assert usher.store.users.find(handle) == zoe


def test_two_users_with_one_address_must_be_told_apart_by_id(usher: App) -> None:
    """The address is never identity."""
    save(usher, user("ada@example.com"), user("ADA@example.com"))
    with pytest.raises(AmbiguousUserError, match="Use the id"):
        usher.store.users.find("ada@example.com")


def test_the_configured_instance_narrows_the_search(usher: App) -> None:
    """The same id and address can exist at two instances; unless one is named, nothing is shown."""
    id_ = uuid4()
    here, there = save(usher, user(id=id_), user(id=id_, instance_id=OTHER))
    for handle in (str(id_), "ada@example.com"):
        assert users_of(usher, INSTANCE).find(handle) == here
        assert users_of(usher, OTHER).find(handle) == there
        with pytest.raises(SeveralInstancesError, match="USHER_INSTANCE_ID"):
            usher.store.users.find(handle)
    assert users_of(usher, OTHER).page().items == (there,)
    with pytest.raises(SeveralInstancesError):
        usher.store.users.page()


@pytest.mark.parametrize(
    "handle", ["", "  ", "nobody@example.com", str(UUID(int=9)), "' OR 1=1 --", "ada@", "%", "\x00"]
)
def test_whom_nobody_knows_is_not_found(usher: App, handle: str) -> None:
    """An error of ours that names the handle; an empty one finds no tombstone."""
    deleted = replace(user(), email="", email_key="", deleted_at=NOON)
    save(usher, user(), deleted)
    with pytest.raises(UserNotFoundError):
        usher.store.users.find(handle)


def test_a_long_handle_is_named_only_in_part(usher: App) -> None:
    """An error message stays readable."""
    with pytest.raises(UserNotFoundError) as raised:
        usher.store.users.find("x" * 10_000)
    assert len(str(raised.value)) < 200


def test_load_gives_the_records_of_the_keys_that_exist(usher: App) -> None:
    """Over instances, with their grants; unknown keys are absent, repeated ones come once."""
    grant = Grant("member", Source.POLICY, NOON)
    here, there = save(usher, user(grants=(grant,)), user(instance_id=OTHER))
    with usher.store.database.write() as connection:
        keys = [(u.instance_id, u.id) for u in (here, there, here)]
        found = usher.store.users.load(connection, [*keys, (INSTANCE, uuid4()), (OTHER, here.id)])
        assert usher.store.users.load(connection, []) == {}
    assert found == {keys[0]: here, keys[1]: there}


# --- many -----------------------------------------------------------------------------------------


def test_a_listing_gives_every_user_once_in_the_order_of_creation(usher: App) -> None:
    """Over many pages; who was created in the same instant is ordered by id."""
    users = [user(f"u{n}@example.com", n // 5) for n in range(23)]
    save(usher, *users[::-1])
    expected = sorted(users, key=lambda each: (each.created_at, each.id))
    for limit in (1, 4, 7, 23, 24):
        assert listed(usher, limit) == expected


def test_the_last_page_has_no_cursor_even_when_it_is_full(usher: App) -> None:
    """Nobody is sent to an empty page."""
    save(usher, *(user(minutes=n) for n in range(4)))
    first = usher.store.users.page(limit=2)
    assert usher.store.users.page(limit=2, cursor=first.next_cursor).next_cursor is None
    assert usher.store.users.page(limit=4).next_cursor is None


def test_who_comes_while_a_listing_is_read_moves_nobody(usher: App) -> None:
    """By keyset: no page repeats or skips whoever was there from the start."""
    users = save(usher, *(user(minutes=n) for n in range(6)))
    first = usher.store.users.page(limit=3)
    save(usher, user(minutes=-5), user(minutes=99))
    rest = usher.store.users.page(limit=9, cursor=first.next_cursor).items
    assert [*first.items, *rest][:6] == users


@pytest.mark.parametrize(("limit", "size"), [(-1, 1), (0, 1), (1, 1), (10**9, MAX_PAGE)])
def test_a_page_has_at_least_one_and_at_most_so_many_users(
    usher: App, limit: int, size: int
) -> None:
    """A limit beyond reason is no error and no danger."""
    save(usher, *(user(minutes=n) for n in range(MAX_PAGE + 1)))
    assert len(usher.store.users.page(limit=limit).items) == size


def test_a_listing_can_be_narrowed_to_a_status(usher: App) -> None:
    """Each user has one status, and pages hold under the filter."""
    by_status: dict[Status, dict[str, Any]] = {
        Status.ACTIVE: {},
        Status.PENDING: {"confirmed_at": None},
        Status.WAITING: {"waiting_since": NOON},
        Status.SUSPENDED: {"suspended_at": NOON},
        Status.DELETED: {"suspended_at": NOON, "deleted_at": NOON},
    }
    users = [user(minutes=n, **by_status[s]) for n, s in enumerate(list(Status) * 4)]
    save(usher, *users)
    for status in Status:
        assert listed(usher, 1, status=status) == [u for u in users if u.status is status]


def test_a_role_filter_finds_who_has_the_role_now(usher: App, clock: Clock) -> None:
    """As ``effective`` has it: granted by any source, denied by none, neither of them ended."""
    later, gone = NOON + timedelta(hours=1), NOON - timedelta(seconds=1)
    admin, policy, identity = Source.ADMINISTRATOR, Source.POLICY, Source.IDENTITY
    grants = {
        "holds": [Grant("x", policy, NOON)],
        "twice": [Grant("x", admin, NOON), Grant("x", policy, NOON)],
        "still": [Grant("x", admin, NOON, expires_at=later)],
        "one of two ended": [Grant("x", admin, NOON, expires_at=gone), Grant("x", policy, NOON)],
        "denial ended": [
            Grant("x", admin, NOON, denies=True, expires_at=gone),
            Grant("x", policy, NOON),
        ],
        "NOT ended": [Grant("x", admin, NOON, expires_at=gone)],
        "NOT ending now": [Grant("x", admin, NOON, expires_at=NOON)],
        "NOT denied": [Grant("x", identity, NOON, denies=True), Grant("x", policy, NOON)],
        "NOT only denied": [Grant("x", identity, NOON, denies=True)],
        "NOT another role": [Grant("xx", policy, NOON), Grant("X", policy, NOON)],
        "NOT any": [],
    }
    users = [
        user(name, minutes, grants=tuple(given))
        for minutes, (name, given) in enumerate(grants.items())
    ]
    save(usher, *users)
    assert [u.email for u in listed(usher, 2, role="x")] == [n for n in grants if "NOT" not in n]
    clock.advance(hours=2)
    assert "still" not in [u.email for u in listed(usher, role="x")]


@pytest.mark.parametrize(
    ("prefix", "found"),
    [
        ("a", ["a%b@x.org", "a_b@x.org", "Aa@x.org", "axb@x.org"]),
        ("A", ["a%b@x.org", "a_b@x.org", "Aa@x.org", "axb@x.org"]),
        ("a%", ["a%b@x.org"]),
        ("a_", ["a_b@x.org"]),
        ("aXb@X", ["axb@x.org"]),
        ("éC", ["Éc@x.org"]),
        ("z\\", ["z\\@x.org"]),
        ("q", ["q\U0001f600@x.org", "q\U0010fffd@x.org"]),
        ("q\U0010fffd", ["q\U0010fffd@x.org"]),
        ("'", ["'@x.org"]),
        ("x.org", []),
        ("", None),
    ],
)
def test_a_prefix_filter_takes_every_character_literally(
    usher: App, prefix: str, found: list[str] | None
) -> None:
    """No wildcards; letter case is not told apart; an empty prefix is no filter."""
    addresses = ["a%b@x.org", "a_b@x.org", "Aa@x.org", "axb@x.org", "ba@x.org", "Éc@x.org"]
    addresses += ["z\\@x.org", "'@x.org", "\U0010ffff@x.org"]
    addresses += ["q\U0001f600@x.org", "q\U0010fffd@x.org"]
    save(usher, *(user(address, n) for n, address in enumerate(addresses)))
    assert [u.email for u in listed(usher, 1, email_prefix=prefix)] == (
        addresses if found is None else found
    )


def test_filters_hold_together(usher: App) -> None:
    """Each narrows the others, on every page."""
    member = (Grant("member", Source.POLICY, NOON),)
    wanted = [user(f"ada{n}@x.org", n, grants=member) for n in range(5)]
    save(
        usher, *wanted,
        user("ada9@x.org"), user("bob@x.org", grants=member),
        user("ada8@x.org", grants=member, suspended_at=NOON),
    )  # fmt: skip
    filters = {"status": Status.ACTIVE, "role": "member", "email_prefix": "ADA"}
    assert listed(usher, 2, **filters) == wanted


def test_a_listing_shows_what_events_made(usher: App) -> None:
    """Users that came in by events, in their order, with the grants that they got."""
    people = [account(email=f"p{n}@example.com") for n in range(3)]
    deliver(usher, [signed("signup", who) for who in people])
    found = listed(usher, 2, role="staff")
    assert sorted(u.id for u in found) == sorted(who.id for who in people)
    assert all([g.role for g in u.grants] == ["member", "staff"] for u in found)
