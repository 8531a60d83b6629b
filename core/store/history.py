"""The history of one ledger in order: deliveries and administrators' acts, read in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from sqlalchemy import ColumnElement, Select, func, select

from usher.core.domain.records import THE_SITE, AuditEntry, Delivery
from usher.core.store.audit import to_entry
from usher.core.store.database import Database
from usher.core.store.deliveries import conditions, to_delivery
from usher.core.store.filters import DeliveryFilters
from usher.core.store.tables import AUDIT as _AUDIT
from usher.core.store.tables import DELIVERIES as _DELIVERIES

CHUNK: Final = 1_000


class History(Struct, frozen=True):
    """The deliveries and acts of one database.

    Args:
        instance_id: only this instance; None: all.
    """

    database: Database
    instance_id: UUID | None = None

    def deliveries(
        self, filters: DeliveryFilters = DeliveryFilters(), after: int = 0
    ) -> Iterator[Delivery]:
        """Deliveries in order of arrival.

        Args:
            after: the ``sequence`` after which to begin.
        """
        wanted = conditions(filters)
        if self.instance_id is not None:
            wanted.append(_DELIVERIES.c.instance_id == self.instance_id)
        for row in self._stream(select(_DELIVERIES).where(*wanted), _DELIVERIES.c.sequence, after):
            yield to_delivery(row)

    def count(self, filters: DeliveryFilters = DeliveryFilters()) -> int:
        """The number of deliveries that pass the filters."""
        wanted = conditions(filters)
        if self.instance_id is not None:
            wanted.append(_DELIVERIES.c.instance_id == self.instance_id)
        with self.database.read() as transaction:
            counted = select(func.count()).select_from(_DELIVERIES).where(*wanted)
            return transaction.sql.execute(counted).scalar_one()

    def acts(self, since: datetime | None, until: datetime | None) -> Iterator[AuditEntry]:
        """Acts: a person's changes of records, in order; ``until`` excluded."""
        wanted: list[ColumnElement[bool]] = [
            _AUDIT.c.delivery_id.is_(None),
            _AUDIT.c.user_id != THE_SITE,
        ]
        if self.instance_id is not None:
            wanted.append(_AUDIT.c.instance_id == self.instance_id)
        if since:
            wanted.append(_AUDIT.c.at >= since)
        if until:
            wanted.append(_AUDIT.c.at < until)
        for row in self._stream(select(_AUDIT).where(*wanted), _AUDIT.c.sequence, 0):
            yield to_entry(row)

    def merged(
        self, filters: DeliveryFilters = DeliveryFilters(), *, with_acts: bool = False
    ) -> Iterator[Delivery | AuditEntry]:
        """Deliveries in order of arrival, and acts among them.

        An act follows the delivery that was the newest when it was done. For one user this is the
        exact order, since both are written under the lock of the record.

        Args:
            with_acts: include the acts.
        """
        acts = self.acts(filters.since, filters.until) if with_acts else iter(())
        act = next(acts, None)
        for delivery in self.deliveries(filters):
            while act is not None and (act.ledger_position or 0) < (delivery.sequence or 0):
                yield act
                act = next(acts, None)
            yield delivery
        while act is not None:
            yield act
            act = next(acts, None)

    def _stream(
        self, statement: Select[Any], sequence: ColumnElement[int], after: int
    ) -> Iterator[Any]:
        while True:
            page = statement.where(sequence > after).order_by(sequence).limit(CHUNK)
            with self.database.read() as transaction:
                rows = transaction.sql.execute(page).all()
            yield from rows
            if len(rows) < CHUNK:
                return
            after = rows[-1].sequence
