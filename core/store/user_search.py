"""Search for users by filters and orders, at a cost that does not grow with the table.

A filter that few records meet is served by its own index, and those few are sorted. A filter that
many meet is checked along the index of the order, which soon fills a page. Neither way reads more
than a fixed number of records (``usher.core.store.keyset``). Most records have the status
``active`` and the provider ``email``; no index has these, so that an event need not write them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Connection,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)

from usher.core.domain.cursors import read_cursor, write_cursor
from usher.core.domain.events import email_key
from usher.core.domain.records import Key, Page, Status, User
from usher.core.store.compile_statements import USER_COLUMNS, users_texts
from usher.core.store.database import Transaction
from usher.core.store.drivers.statement import Statement
from usher.core.store.filters import Sort, UserFilters
from usher.core.store.keyset import MAX_PAGE, Condition, Order, fetch
from usher.core.store.statements import FIND_USERS
from usher.core.store.tables import GRANTS, USERS
from usher.core.store.users import NEVER, find_by_ids, with_grants
from usher.core.store.values import hex_of, time_text

FEW: Final = 500
"""Records that are few enough to be sorted for each page."""
USUAL_PROVIDER: Final = "email"
# Of the partial indexes; as text, since no planner infers such a condition from a parameter.
RARE_STATUS: Final = USERS.c.status != literal_column(f"'{Status.ACTIVE}'")
_RARE_PROVIDER: Final = USERS.c.provider != literal_column(f"'{USUAL_PROVIDER}'")

_ORDERS: Final = {
    Sort.CREATED: ((USERS.c.created_at, USERS.c.id), (datetime, UUID)),
    Sort.LAST_SEEN: (
        (USERS.c.last_seen_at, USERS.c.created_at, USERS.c.id),
        (datetime, datetime, UUID),
    ),
    Sort.EMAIL: ((USERS.c.email_key, USERS.c.id), (str, UUID)),
}
_PLACES: Final = {column.name: place for place, column in enumerate(USER_COLUMNS)}
_TEXTS: Final[dict[type, Any]] = {UUID: hex_of, datetime: time_text, str: str}


def search(
    transaction: Transaction,
    instance_id: UUID,
    filters: UserFilters,
    sort: Sort,
    descending: bool,
    limit: int,
    cursor: str | None,
    now: datetime,
) -> Page[User]:
    """One page of users.

    Args:
        limit: users at most, between 1 and ``keyset.MAX_PAGE``.
        cursor: ``next_cursor`` of the page before; None: the first page.
        now: grants that ended by then give no role.

    Raises:
        CursorInvalidError: not ours, cut short, or of another order.
    """
    if filters == UserFilters():
        return _everybody(transaction, instance_id, sort, descending, limit, cursor)
    connection = transaction.sql
    order = _order(sort, descending)
    served, unserved = _ranges(filters, sort)
    within = [USERS.c.instance_id == instance_id, *served]
    where = unserved + _equalities(filters, now)
    if where and (few := _few(connection, instance_id, filters)) is not None:
        # A pair, so that no planner without statistics follows the index of the order instead.
        within, where = [tuple_(USERS.c.instance_id, USERS.c.id).in_(few), *served, *where], []
    rows, following = fetch(
        connection,
        select(*order.columns),
        order,
        within=within,
        where=where,
        cursor=cursor,
        limit=limit,
    )
    users = find_by_ids(transaction, instance_id, [row.id for row in rows])
    return Page(tuple(users), following)


def _order(sort: Sort, descending: bool) -> Order:
    columns, kinds = _ORDERS[sort]
    return Order(f"{sort.value}.{'desc' if descending else 'asc'}", columns, kinds, descending)


def _everybody(
    transaction: Transaction,
    instance_id: UUID,
    sort: Sort,
    descending: bool,
    limit: int,
    cursor: str | None,
) -> Page[User]:
    """A page of the list without filters, the one asked for most, by a statement kept compiled."""
    order = _order(sort, descending)
    limit = max(1, min(limit, MAX_PAGE))
    place = read_cursor(cursor, order.name, order.types) if cursor else ()
    rows = transaction.fetch(
        _page_of_all(sort, descending, bool(place)),
        hex_of(instance_id),
        *(_TEXTS[type(value)](value) for value in place),
        limit + 1,
    )
    users = tuple(with_grants(transaction, instance_id, rows[:limit]))
    if len(rows) <= limit:
        return Page(users, None)
    last = [rows[limit - 1][_PLACES[column.name]] for column in order.columns]
    return Page(users, write_cursor(order.name, last))


@cache  # two for each order
def _page_of_all(sort: Sort, descending: bool, continued: bool) -> Statement:
    order = _order(sort, descending)

    def narrow(users: Select[Any]) -> Select[Any]:
        if continued:
            users = users.where(order.after([None] * len(order.columns)))
        return users.order_by(*order.sorting()).limit(bindparam("most"))

    return Statement(*users_texts(narrow), returns=FIND_USERS.returns)


def holds_role(role: str, now: datetime) -> Condition:
    """The SQL of ``role in effective(grants, now)``."""
    live = or_(GRANTS.c.expires_at.is_(None), GRANTS.c.expires_at > now)

    def said(denies: bool) -> Any:
        return (
            select(GRANTS.c.role)
            .where(
                GRANTS.c.instance_id == USERS.c.instance_id,
                GRANTS.c.user_id == USERS.c.id,
                GRANTS.c.role == role,
                GRANTS.c.denies.is_(denies),
                live,
            )
            .exists()
        )

    return and_(said(False), ~said(True))


def another_holder(
    connection: Connection, leaving: Key, role: str, now: datetime, but: Sequence[UUID]
) -> UUID | None:
    """The id of another active holder of a role, if there is one.

    Args:
        leaving: the holder who is about to go; left out.
        but: further ids to leave out.
    """
    others = select(USERS.c.id).where(
        USERS.c.instance_id == leaving[0],
        USERS.c.id != leaving[1],
        USERS.c.id.not_in(but),
        USERS.c.status == Status.ACTIVE.value,
        holds_role(role, now),
    )
    return connection.execute(others.limit(1)).scalar()


def _ranges(filters: UserFilters, sort: Sort) -> tuple[list[Condition], list[Condition]]:
    """Range conditions: those that the index of the order serves, and the others."""
    ranges: list[tuple[Sort, Any, Any, Any]] = [
        (Sort.CREATED, USERS.c.created_at, filters.created_since, filters.created_until),
        (Sort.LAST_SEEN, USERS.c.last_seen_at, filters.seen_since, filters.seen_until),
        (Sort.EMAIL, USERS.c.email_key, *_begin_and_end(filters.email_prefix)),
    ]
    served: list[Condition] = []
    unserved: list[Condition] = []
    for by, column, since, until in ranges:
        compared = column if by is sort else _unindexed(column)
        found = served if by is sort else unserved
        if since:
            found.append(compared >= since)
        if until:
            found.append(compared < until)
            if by is Sort.LAST_SEEN:
                found.append(compared > NEVER)
    return served, unserved


def _begin_and_end(prefix: str) -> tuple[str, str]:
    key = email_key(prefix)
    return (key, key + "\U0010ffff") if key else ("", "")


def _unindexed(column: Any) -> Any:
    """A column, hidden from the planner's choice of index.

    A planner that prefers the column's own index to the order's would read all matches and sort
    them.
    """
    return func.coalesce(column, column)


def _equalities(filters: UserFilters, now: datetime) -> list[Condition]:
    conditions: list[Condition] = []
    if filters.status:
        conditions.append(_unindexed(USERS.c.status) == filters.status.value)
    if filters.provider:
        conditions.append(_unindexed(USERS.c.provider) == filters.provider)
    if filters.role:
        conditions.append(holds_role(filters.role, now))
    return conditions


def _few(connection: Connection, instance_id: UUID, filters: UserFilters) -> Select[Any] | None:
    """The keys behind a filter that at most ``FEW`` meet; None where many meet each filter."""
    here = USERS.c.instance_id == instance_id
    keys = USERS.c.instance_id, USERS.c.id
    candidates: list[Select[Any]] = []
    if filters.email_prefix:
        first, last = _begin_and_end(filters.email_prefix)
        within = USERS.c.email_key >= first, USERS.c.email_key < last
        candidates.append(select(*keys).where(here, *within))
    if filters.role:
        of_role = GRANTS.c.instance_id == instance_id, GRANTS.c.role == filters.role
        candidates.append(select(GRANTS.c.instance_id, GRANTS.c.user_id).where(*of_role))
    if filters.status not in (None, Status.ACTIVE):
        of_status = RARE_STATUS, USERS.c.status == filters.status.value
        candidates.append(select(*keys).where(here, *of_status))
    if filters.provider not in ("", USUAL_PROVIDER):
        of_provider = _RARE_PROVIDER, USERS.c.provider == filters.provider
        candidates.append(select(*keys).where(here, *of_provider))
    for candidate in candidates:
        bounded = candidate.limit(FEW + 1).subquery()
        count = connection.execute(select(func.count()).select_from(bounded)).scalar_one()
        if count <= FEW:
            return candidate.limit(FEW)
    return None
