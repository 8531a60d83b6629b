"""Finding users: every filter and order, on both databases, against the same in plain Python."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.profiles import examples
from tests.store.store_support import executed
from tests.support import NOON
from usher.core.app import App
from usher.core.domain.events import email_key
from usher.core.domain.records import Grant, Source, Status, User
from usher.core.domain.roles import effective
from usher.core.store import keyset, user_search
from usher.core.store.filters import Sort, UserFilters
from usher.core.store.users import NEVER
from usher.core.users import UserService

PREFIXES = ("", "a", "ab", "AB@", "z", "%", "_", "Ä")
ADDRESSES = ("a@x.org", "AB@x.org", "ab@y.org", "abc@x.org", "zoë@x.org", "%@x.org", "äb@x.org", "")
TIMES = [NOON + timedelta(hours=hours) for hours in range(-3, 4)]


def people() -> list[User]:
    """Forty users who differ in everything that can be asked for."""
    random = Random(7)
    found = []
    for number in range(40):
        roles = random.sample(["member", "staff", "admin"], random.randrange(4))
        grants = [Grant(role, Source.POLICY, NOON) for role in sorted(roles)]
        if "staff" in roles and random.random() < 0.4:
            grants.append(Grant("staff", Source.ADMINISTRATOR, NOON, denies=True))
        if "member" in roles and random.random() < 0.3:
            ended = NOON - timedelta(minutes=1)
            grants = [g for g in grants if g.role != "member"]
            grants.append(Grant("member", Source.IDENTITY, NOON, expires_at=ended))
        email = random.choice(ADDRESSES)
        found.append(
            User(
                UUID(int=0),
                UUID(int=random.randrange(2**128)),
                created_at=random.choice(TIMES),
                updated_at=NOON,
                email=email,
                email_key=email_key(email),
                provider=random.choice(["email", "google", ""]),
                confirmed_at=random.choice([NOON, None]),
                suspended_at=random.choice([NOON, None, None]),
                deleted_at=random.choice([NOON, None, None, None]),
                last_seen_at=random.choice([*TIMES, None]),
                grants=tuple(sorted(grants, key=lambda g: (g.role, g.source))),
                version=number + 1,
            )
        )
    return found


PEOPLE = people()
MOMENTS = st.none() | st.sampled_from(TIMES)
FILTERS = st.builds(
    UserFilters,
    status=st.none() | st.sampled_from(Status),
    role=st.sampled_from(["", "", "member", "staff", "admin", "nothing"]),
    provider=st.sampled_from(["", "", "email", "google", "saml"]),
    email_prefix=st.sampled_from(PREFIXES),
    created_since=MOMENTS,
    created_until=MOMENTS,
    seen_since=MOMENTS,
    seen_until=MOMENTS,
)


def expected(filters: UserFilters, sort: Sort, descending: bool) -> list[User]:
    """The same question, answered by looking at everybody."""

    def place(user: User) -> tuple[Any, ...]:
        first: dict[Sort, tuple[Any, ...]] = {
            Sort.CREATED: (user.created_at,),
            Sort.LAST_SEEN: (user.last_seen_at or NEVER, user.created_at),
            Sort.EMAIL: (user.email_key,),
        }
        return *first[sort], str(user.id)

    found = [user for user in PEOPLE if fits(user, filters)]
    return sorted(found, key=place, reverse=descending)


def fits(user: User, filters: UserFilters) -> bool:
    """Whether a filter lets a user through."""

    def within(value: datetime | None, since: datetime | None, until: datetime | None) -> bool:
        if since is None and until is None:
            return True
        return value is not None and (since or value) <= value and (until is None or value < until)

    return (
        filters.status in (None, user.status)
        and (not filters.role or filters.role in effective(user.grants, NOON))
        and filters.provider in ("", user.provider)
        and user.email_key.startswith(email_key(filters.email_prefix))
        and within(user.created_at, filters.created_since, filters.created_until)
        and within(user.last_seen_at, filters.seen_since, filters.seen_until)
    )


@pytest.fixture
def service(usher: App) -> UserService:
    """Forty users on record."""
    with usher.store.database.write() as connection:
        after = {(user.instance_id, user.id): user for user in PEOPLE}
        usher.store.users.store(connection, {}, after, [])
    return usher.store.users


@pytest.fixture(params=[(2_000, 500), (4, -1), (3, 3)], ids=["usual", "walking", "both"])
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds so small that forty users exceed them."""
    scan, few = request.param
    monkeypatch.setattr(keyset, "SCAN", scan)
    monkeypatch.setattr(user_search, "FEW", few)


def pages(
    service: UserService, filters: UserFilters, sort: Sort, descending: bool, limit: int
) -> Iterator[tuple[User, ...]]:
    """Page after page."""
    cursor = None
    for _ in range(200):
        page = service.page(filters, sort=sort, descending=descending, limit=limit, cursor=cursor)
        yield page.items
        cursor = page.next_cursor
        if cursor is None:
            return
    raise AssertionError("the listing does not end")


@pytest.mark.usefixtures("bounds")
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(FILTERS, st.sampled_from(Sort), st.booleans(), st.integers(1, 50))
def test_the_pages_hold_exactly_who_fits_in_order(
    service: UserService, filters: UserFilters, sort: Sort, descending: bool, limit: int
) -> None:
    """However small the pages and the bounds of the search are."""
    found = list(pages(service, filters, sort, descending, limit))
    assert [user for page in found for user in page] == expected(filters, sort, descending)
    assert all(len(page) <= limit for page in found)


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", Sort)
def test_everybody_is_listed_in_the_order_of_an_index(
    service: UserService, usher: App, sort: Sort, descending: bool
) -> None:
    """Page after page, and nothing is sorted."""
    with executed(usher.store.database) as statements:
        found = list(pages(service, UserFilters(), sort, descending, 7))
    assert [user for page in found for user in page] == expected(UserFilters(), sort, descending)
    assert [len(page) for page in found] == [7, 7, 7, 7, 7, 5]
    listing = [one for one in statements if "users.email" in one.text and "LIMIT" in one.text]
    assert len({one.text for one in listing}) == 2  # the first page, and those that go on
    for one in listing:
        assert not re.search("Sort|TEMP B-TREE", one.plan(usher.store.database))


def test_a_page_of_a_search_may_be_short_and_not_the_last(
    service: UserService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After so many records the search stops, and says where to go on."""
    monkeypatch.setattr(keyset, "SCAN", 5)
    monkeypatch.setattr(user_search, "FEW", -1)
    found = list(pages(service, UserFilters(role="nothing"), Sort.CREATED, False, 50))
    assert found in ([()] * 8, [()] * 9)


@pytest.mark.parametrize("filters", [UserFilters(), UserFilters(role="admin")])
def test_no_page_costs_more_statements_than_a_few(
    service: UserService, usher: App, filters: UserFilters
) -> None:
    """Neither for each user nor for each role."""
    with executed(usher.store.database) as statements:
        assert len(service.page(filters, limit=40).items) > 3
    assert 1 <= len([one for one in statements if one.text.startswith("SELECT")]) <= 8
