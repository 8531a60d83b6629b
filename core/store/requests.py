"""Requests as rows: listed, written by persons, decided by administrators.

Every change holds the lock of the person's record, so a row that was read under it stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Connection, delete, func, insert, select, update

from usher.core.domain.records import Key, Page
from usher.core.domain.requests import Request, State
from usher.core.store.keyset import Order, fetch
from usher.core.store.tables import REQUESTS

_OLDEST: Final = Order("request", (REQUESTS.c.id,), (int,), False)


def request_page(
    connection: Connection, instance_id: UUID, state: State | None, limit: int, cursor: str | None
) -> Page[Request]:
    """One page of requests, the oldest first.

    Args:
        state: only those; None: all, which the order of the table serves.
        limit: rows at most, between 1 and ``keyset.MAX_PAGE``.
        cursor: ``next_cursor`` of the page before; None: the first page.

    Raises:
        CursorInvalidError: the cursor is not one of this list.
    """
    within = [REQUESTS.c.instance_id == instance_id]
    if state is not None:
        within.append(REQUESTS.c.state == state.value)
    rows, following = fetch(
        connection,
        select(REQUESTS),
        _OLDEST,
        within=within,
        where=(),
        cursor=cursor,
        limit=limit,
    )
    return Page(tuple(map(_to_request, rows)), following)


def find_request(connection: Connection, instance_id: UUID, number: int) -> Request | None:
    """The request with this number, if there is one."""
    mine = REQUESTS.c.id == number, REQUESTS.c.instance_id == instance_id
    row = connection.execute(select(REQUESTS).where(*mine)).first()
    return None if row is None else _to_request(row)


def requests_of(connection: Connection, key: Key, limit: int) -> list[Request]:
    """A person's requests, the newest first."""
    statement = select(REQUESTS).where(*_of(key)).order_by(REQUESTS.c.id.desc()).limit(limit)
    return [_to_request(row) for row in connection.execute(statement)]


def add_request(
    connection: Connection, key: Key, role: str | None, reason: str, now: datetime
) -> int:
    """A new open request; its number."""
    values: dict[str, Any] = {
        "instance_id": key[0],
        "user_id": key[1],
        "role": role,
        "reason": reason,
        "state": State.OPEN.value,
        "message": "",
        "actor": "",
        "created_at": now,
        "decided_at": None,
    }
    number: int = connection.execute(
        insert(REQUESTS).values(values).returning(REQUESTS.c.id)
    ).scalar_one()
    return number


def reword(connection: Connection, number: int, reason: str) -> None:
    """Give a request other words of the person."""
    connection.execute(update(REQUESTS).where(REQUESTS.c.id == number).values(reason=reason))


def decide_request(
    connection: Connection, number: int, state: State, actor: str, now: datetime, message: str = ""
) -> None:
    """Note an administrator's decision."""
    values = {"state": state.value, "actor": actor, "decided_at": now, "message": message}
    connection.execute(update(REQUESTS).where(REQUESTS.c.id == number).values(values))


def remove_request(connection: Connection, number: int) -> None:
    """Remove a request that was taken back."""
    connection.execute(delete(REQUESTS).where(REQUESTS.c.id == number))


def open_requests(connection: Connection, instance_id: UUID) -> tuple[int, datetime | None]:
    """The number of open requests, and the time of the oldest."""
    mine = REQUESTS.c.instance_id == instance_id, REQUESTS.c.state == State.OPEN.value
    found = select(func.count(), func.min(REQUESTS.c.created_at)).where(*mine)
    count, oldest = connection.execute(found).one()
    return count, oldest


def _of(key: Key) -> Sequence[Any]:
    return REQUESTS.c.instance_id == key[0], REQUESTS.c.user_id == key[1]


def _to_request(row: Any) -> Request:
    return Request(
        row.id,
        row.instance_id,
        row.user_id,
        row.role,
        row.reason,
        State(row.state),
        row.message,
        row.actor,
        row.created_at,
        row.decided_at,
    )
