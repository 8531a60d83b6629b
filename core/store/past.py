"""The input of a trial: the kept events of each person in their order, and the records of now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import cache
from heapq import merge
from itertools import groupby
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import Dialect, bindparam, func, literal_column, or_, select, tuple_

from usher.core.domain.book import ASKING
from usher.core.domain.codes import Code
from usher.core.domain.events import kept_event
from usher.core.domain.records import User
from usher.core.domain.recount import DatedEvent
from usher.core.jws import Claims
from usher.core.store.books import to_code
from usher.core.store.compile_statements import texts_of, users_texts
from usher.core.store.database import Database
from usher.core.store.drivers.statement import Statement, rows_of
from usher.core.store.instances import instances_in
from usher.core.store.statements import FIND_USERS
from usher.core.store.tables import CODES, DELIVERIES, USERS
from usher.core.store.users import with_grants
from usher.core.store.values import hex_of, time_text

PAGE: Final = 2_000
"""Rows that one transaction reads."""
_COLUMNS: Final = tuple(
    DELIVERIES.c[name]
    for name in ("user_id", "received_at", "sequence", "issued_at", "body_digest", "body")
)
_ROWS: Final = rows_of(UUID, datetime, int, int, str, bytes | None)
_BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END: Final = datetime(9999, 1, 1, tzinfo=UTC)
_ALL: Final = (UUID(int=0), UUID(int=(1 << 128) - 1))


class Past(Struct, frozen=True):
    """The events and records of one database.

    Args:
        instance_id: of this instance only; None: of all.
    """

    database: Database
    instance_id: UUID | None

    def histories(
        self, since: datetime | None = None, first: UUID = _ALL[0], last: UUID = _ALL[1]
    ) -> Iterator[list[DatedEvent]]:
        """The events of each user, in order of receipt; users in order of instance and id.

        Bodies that were erased, or are no events, are left out.

        Args:
            since: only events received then or later.
            first, last: the range of user ids, both included.
        """
        for instance_id in self._instances("deliveries"):
            rows = self._deliveries(instance_id, since or _BEGINNING, first, last)
            for _, mine in groupby(rows, itemgetter(0)):
                if history := _events(instance_id, mine):
                    yield history

    def newest(self, most: int) -> Iterator[list[DatedEvent]]:
        """As ``histories``, of the newest events only, ``most`` in all; first the newest user."""
        for instance_id in self._instances("deliveries"):
            rows_of_user: dict[UUID | None, list[Any]] = {}
            for row in self._newest(instance_id, most):
                rows_of_user.setdefault(row[0], []).append(row)
                most -= 1
            for mine in rows_of_user.values():
                if history := _events(instance_id, reversed(mine)):
                    yield history

    def arrivals(self, since: datetime | None = None) -> Iterator[DatedEvent]:
        """Each ``validate`` and ``signup`` in order of receipt; ``since`` as for ``histories``."""
        each = [self._arrivals(one, since or _BEGINNING) for one in self._instances("deliveries")]
        return merge(*each, key=itemgetter(1))

    def codes(self) -> list[Code]:
        """The invitation codes on record."""
        with self.database.read() as transaction:
            return list(map(to_code, transaction.sql.execute(select(CODES))))

    def size(self) -> int:
        """About how many deliveries are kept, erased ones and those of all instances included."""
        with self.database.read() as transaction:
            ((first, last),) = transaction.fetch(_extent())
        return 0 if last is None else last - first + 1

    def records(self, first: UUID = _ALL[0], last: UUID = _ALL[1]) -> Iterator[User]:
        """The records in order of instance and id.

        Args:
            first, last: the range of user ids, both included.
        """
        for instance_id in self._instances("users"):
            instance, beginning = hex_of(instance_id), first
            while True:
                with self.database.read() as transaction:
                    values = instance, hex_of(beginning), hex_of(last), PAGE
                    rows = transaction.fetch(_records(), *values)
                    users = with_grants(transaction, instance_id, rows)
                yield from users
                if len(rows) < PAGE or rows[-1][0] == last:
                    break
                beginning = UUID(int=rows[-1][0].int + 1)

    def _instances(self, table: Any) -> list[UUID]:
        if self.instance_id is not None:
            return [self.instance_id]
        with self.database.read() as transaction:
            return list(instances_in(transaction, table))

    def _deliveries(
        self, instance_id: UUID, since: datetime, first: UUID, last: UUID
    ) -> Iterator[Any]:
        instance, until = hex_of(instance_id), hex_of(last)
        place: tuple[str, str, int] = hex_of(first), time_text(_BEGINNING), -1
        while True:
            with self.database.read() as transaction:
                # The id stands twice: SQLite finds no place in an index by a tuple alone.
                values = instance, place[0], until, *place, time_text(since), PAGE
                rows = transaction.fetch(_deliveries_after(), *values)
            yield from rows
            if len(rows) < PAGE:
                return
            user_id, received_at, sequence = rows[-1][:3]
            place = hex_of(user_id), time_text(received_at), sequence

    def _arrivals(self, instance_id: UUID, since: datetime) -> Iterator[DatedEvent]:
        place: tuple[str, int] = time_text(since), -1
        while True:
            with self.database.read() as transaction:
                values = hex_of(instance_id), place[0], *place, PAGE
                rows = transaction.fetch(_askers_after(), *values)
            yield from _events(instance_id, rows)
            if len(rows) < PAGE:
                return
            place = time_text(rows[-1][1]), rows[-1][2]

    def _newest(self, instance_id: UUID, most: int) -> Iterator[Any]:
        place: tuple[str, int] = time_text(_END), 0
        while most > 0:
            with self.database.read() as transaction:
                values = hex_of(instance_id), place[0], *place, min(most, PAGE)
                rows = transaction.fetch(_deliveries_before(), *values)
            yield from rows
            if len(rows) < PAGE:
                return
            most -= len(rows)
            place = time_text(rows[-1][1]), rows[-1][2]


def _events(instance_id: UUID, rows: Iterable[Any]) -> list[DatedEvent]:
    found = []
    for _, received_at, _, issued_at, digest, body in rows:
        event = kept_event(body, Claims(instance_id, issued_at, digest, 0))
        if event is not None:
            found.append((event, received_at))
    return found


@cache
def _deliveries_after() -> Statement:
    columns = DELIVERIES.c
    order = columns.user_id, columns.received_at, columns.sequence

    def build(_: Dialect) -> Any:
        place = (bindparam(f"after_{column.name}", type_=column.type) for column in order)
        return (
            select(*_COLUMNS)
            .where(
                columns.instance_id == bindparam("instance_id"),
                columns.user_id >= bindparam("first"),
                columns.user_id <= bindparam("last"),
                tuple_(*order) > tuple_(*place),
                columns.received_at >= bindparam("since"),
            )
            .order_by(columns.instance_id, *order)
            .limit(bindparam("most"))
        )

    return Statement(*texts_of(build), returns=_ROWS)


@cache
def _askers_after() -> Statement:
    columns = DELIVERIES.c
    order = columns.received_at, columns.sequence

    def build(_: Dialect) -> Any:
        place = (bindparam(f"after_{column.name}", type_=column.type) for column in order)
        return (
            select(*_COLUMNS)
            .where(
                columns.instance_id == bindparam("instance_id"),
                columns.received_at >= bindparam("first"),
                tuple_(*order) > tuple_(*place),
                or_(*(columns.event == literal_column(f"'{name.value}'") for name in ASKING)),
            )
            .order_by(*order)
            .limit(bindparam("most"))
        )

    return Statement(*texts_of(build), returns=_ROWS)


@cache
def _deliveries_before() -> Statement:
    columns = DELIVERIES.c
    order = columns.received_at, columns.sequence

    def build(_: Dialect) -> Any:
        place = (bindparam(f"before_{column.name}", type_=column.type) for column in order)
        return (
            select(*_COLUMNS)
            .where(
                columns.instance_id == bindparam("instance_id"),
                columns.received_at <= bindparam("last"),
                tuple_(*order) < tuple_(*place),
            )
            .order_by(*(column.desc() for column in order))
            .limit(bindparam("most"))
        )

    shape = rows_of(UUID | None, datetime, int, int, str, bytes | None)
    return Statement(*texts_of(build), returns=shape)


@cache
def _extent() -> Statement:
    sequence = DELIVERIES.c.sequence
    ends = (select(end(sequence)).scalar_subquery() for end in (func.min, func.max))
    extent = select(*ends)
    return Statement(*texts_of(lambda _: extent), returns=rows_of(int | None, int | None))


@cache
def _records() -> Statement:
    def narrow(users: Any) -> Any:
        ids = USERS.c.id >= bindparam("first"), USERS.c.id <= bindparam("last")
        return users.where(*ids).order_by(USERS.c.id).limit(bindparam("most"))

    return Statement(*users_texts(narrow), returns=FIND_USERS.returns)
