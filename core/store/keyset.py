"""Keyset paging, at a cost that does not grow with the table.

An order is one or more columns with an index. The index serves the conditions in ``within`` at no
cost. All others (``where``) are checked on at most ``SCAN`` records a page, so that no combination
of filters reads a whole table. A page can therefore be short and still have a cursor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import ColumnElement, Connection, Select, bindparam, select, tuple_

from usher.core.domain.cursors import read_cursor, write_cursor
from usher.core.store.sizes import most_of

SCAN: Final = 1_000
"""Records that one page checks at most for conditions that no index serves."""
MAX_PAGE: Final = 200

Condition = ColumnElement[bool]


class Order(Struct, frozen=True):
    """A total order of a table.

    Args:
        name: kept in the cursors; a cursor of another order is refused.
        columns: unique together, with an index on them.
        types: of the columns: datetime, UUID, str or int.
    """

    name: str
    columns: tuple[ColumnElement[Any], ...]
    types: tuple[type, ...]
    descending: bool

    def after(self, place: Sequence[Any]) -> Condition:
        """Rows after a place."""
        here, there = tuple_(*self.columns), self._values(place)
        condition: Condition = here < there if self.descending else here > there
        return condition

    def up_to(self, place: Sequence[Any]) -> Condition:
        """Rows before a place, and the place itself."""
        here, there = tuple_(*self.columns), self._values(place)
        condition: Condition = here >= there if self.descending else here <= there
        return condition

    def sorting(self) -> list[Any]:
        """The columns for ORDER BY."""
        return [column.desc() if self.descending else column.asc() for column in self.columns]

    def _values(self, place: Sequence[Any]) -> Any:
        pairs = zip(self.columns, place, strict=True)
        return tuple_(*(bindparam(None, value, type_=column.type) for column, value in pairs))


def fetch(
    connection: Connection,
    statement: Select[Any],
    order: Order,
    *,
    within: Sequence[Condition],
    where: Sequence[Condition],
    cursor: str | None,
    limit: int,
    size: ColumnElement[int] | None = None,
) -> tuple[Sequence[Any], str | None]:
    """The rows of one page, and the cursor of the next; None after the last page.

    Args:
        statement: selects the columns, those of the order among them.
        within: conditions that the order's index serves: equalities on its leading columns, ranges
            on the first column of the order.
        where: all other conditions.
        cursor: of the page before; None: the first page.
        limit: rows at most, between 1 and ``MAX_PAGE``.
        size: of a row; a page of large ones is short.

    Raises:
        CursorInvalidError: not ours, cut short, or of another order.
    """
    limit = max(1, min(limit, MAX_PAGE))
    conditions = list(within)
    if cursor:
        conditions.append(order.after(read_cursor(cursor, order.name, order.types)))
    horizon = None
    if where:
        keys = select(*order.columns).where(*conditions).order_by(*order.sorting())
        horizon = connection.execute(keys.offset(SCAN - 1).limit(1)).first()
        if horizon is not None:
            conditions.append(order.up_to(horizon))
    chosen = [*conditions, *where]
    if size is not None:
        sizes = select(size).where(*chosen).order_by(*order.sorting())
        limit = most_of(connection, sizes, limit)
    page = statement.where(*chosen).order_by(*order.sorting()).limit(limit + 1)
    rows = connection.execute(page).all()
    if len(rows) > limit:
        last = rows[limit - 1]
        place = [getattr(last, column.key or "") for column in order.columns]
        return rows[:limit], write_cursor(order.name, place)
    return rows, write_cursor(order.name, horizon) if horizon is not None else None
