"""Where the Identity instance in use is kept, and found. ``domain.instances`` says what follows.

Once an instance is adopted, only the setting changes which one is in use, and a process has one
setting as long as it lives. So what is chosen is remembered, and costs an event no statement. The
table also keeps what the setting says, so that taking it away leaves the instance in use.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, Table, func, select

from usher.core.domain.events import EventName
from usher.core.domain.instances import How, KnownInstances
from usher.core.domain.records import Outcome
from usher.core.store.bulk_insert import BulkInsert
from usher.core.store.tables import INSTANCES, DeliveryRow, UserRow

NOBODY: Final = UUID(int=0)
"""For a list before anything is known: it finds nothing. Nothing is written under it."""
SLOT: Final = 1

_USERS: Final[Table] = UserRow.__table__  # type: ignore[attr-defined]
_DELIVERIES: Final[Table] = DeliveryRow.__table__  # type: ignore[attr-defined]
_ADOPTED = select(INSTANCES).where(INSTANCES.c.slot == SLOT)
_ADOPT = BulkInsert(INSTANCES, conflict="DO NOTHING")
_KEEP_THE_SETTING = BulkInsert(
    INSTANCES,
    conflict="(slot) DO UPDATE SET instance_id = excluded.instance_id, how = excluded.how, "
    "adopted_at = excluded.adopted_at, delivery_id = excluded.delivery_id "
    "WHERE instances.instance_id <> excluded.instance_id",
)
_NEWEST = select(_DELIVERIES.c.instance_id).order_by(_DELIVERIES.c.sequence.desc()).limit(1)


class Adoption(Struct, frozen=True):
    """The adopted instance, when and how, and the event that named it."""

    instance_id: UUID
    how: How
    at: datetime
    delivery_id: str | None


class OnRecord(Struct, frozen=True):
    """The numbers of one instance in the database.

    Attributes:
        refused: live events that were refused, as those of an instance that is not in use.
        newest: when the newest of them came.
    """

    instance_id: UUID
    users: int
    events: int
    refused: int
    newest: datetime | None


class Instances:
    """The Identity instances of one database.

    Args:
        configured: ``USHER_INSTANCE_ID``, if it is set. It wins.

    Attributes:
        chosen: what is in use, as far as this process knows.
        kept: whether the table is known to hold it.
    """

    def __init__(self, configured: UUID | None = None) -> None:
        self.chosen: KnownInstances | None = None
        self.kept = False
        if configured is not None:
            self.chosen = KnownInstances(frozenset((configured,)), How.SETTING)

    def known(self, connection: Connection) -> KnownInstances:
        """The known instances; asks the database only as long as none is chosen."""
        if self.chosen is not None:
            return self.chosen
        if (known := _in_the_table(connection)) is not None:
            self.kept, self.chosen = True, known
            return known
        found = frozenset(instances_in(connection, _USERS))
        return KnownInstances(found, How.RECORDS if found else How.NOT)

    def keep(
        self, connection: Connection, instance_id: UUID, now: datetime, delivery_id: str
    ) -> KnownInstances:
        """Adopt the instance of a live event; where the setting chose it, note that.

        An adoption by another transaction is waited for, and wins.

        Returns:
            The instance in use then; to be given to ``committed`` afterwards.
        """
        values = {"slot": SLOT, "instance_id": instance_id, "adopted_at": now}
        values |= {"delivery_id": delivery_id}
        if self.chosen is not None:
            kept = _in_the_table(connection)
            if kept is not None and kept.accepted == self.chosen.accepted:
                return replace(self.chosen)
            _KEEP_THE_SETTING.execute(connection, [{**values, "how": How.SETTING.value}])
            return replace(self.chosen)
        _ADOPT.execute(connection, [{**values, "how": How.EVENT.value}])
        known = _in_the_table(connection)
        if known is None:
            raise AssertionError("unreachable")
        return known

    def committed(self, known: KnownInstances) -> bool:
        """Remember what a committed transaction kept; whether it was an adoption."""
        if known is self.chosen or not known.chosen:
            return False
        self.chosen, self.kept = known, True
        return known.how is How.EVENT

    def shown(self, connection: Connection) -> UUID:
        """The instance whose records and deliveries are shown.

        Raises:
            SeveralInstancesError: the records are of several, and none is chosen.
        """
        found = self.known(connection).one
        if found is None:  # no record yet, but deliveries without effect may have come
            found = connection.execute(_NEWEST).scalar()
        return NOBODY if found is None else found


def _in_the_table(connection: Connection) -> KnownInstances | None:
    """The kept choice. As text: SQLAlchemy's making of a statement is felt at a cold start."""
    row = connection.exec_driver_sql(
        "SELECT instance_id, how FROM instances WHERE slot = 1"
    ).first()
    if row is None:
        return None
    return KnownInstances(frozenset((UUID(str(row[0])),)), How(row[1]))


def adopted(connection: Connection) -> Adoption | None:
    """The adoption, if there was one."""
    row = connection.execute(_ADOPTED).first()
    if row is None:
        return None
    return Adoption(row.instance_id, How(row.how), row.adopted_at, row.delivery_id)


def on_record(connection: Connection, known: KnownInstances) -> list[OnRecord]:
    """The numbers of each instance in the database."""
    return [_counted(connection, one, ours=known.takes(one)) for one in _ids(connection)]


def others(connection: Connection, known: KnownInstances) -> list[OnRecord]:
    """The numbers of each instance that is not in use; ours, which are many, are not counted."""
    ids = [one for one in _ids(connection) if not known.takes(one)]
    return [_counted(connection, one, ours=False) for one in ids]


def _ids(connection: Connection) -> list[UUID]:
    found = {i for table in (_USERS, _DELIVERIES) for i in instances_in(connection, table)}
    return sorted(found)


def _counted(connection: Connection, instance_id: UUID, *, ours: bool) -> OnRecord:
    def count(table: Table, *conditions: Any) -> Any:
        here = select(func.count()).select_from(table)
        where = (table.c.instance_id == instance_id, *conditions)
        return connection.execute(here.where(*where)).scalar_one()

    users, events = count(_USERS), count(_DELIVERIES)
    if ours:
        return OnRecord(instance_id, users, events, 0, None)
    refused = (
        _DELIVERIES.c.outcome == Outcome.IGNORED.value,
        _DELIVERIES.c.event.in_(tuple(EventName)),  # others are ignored whatever their instance
        _DELIVERIES.c.origin == "live",
        _DELIVERIES.c.key_index >= 0,  # not imported
    )
    order = _DELIVERIES.c.received_at.desc()
    here = select(_DELIVERIES.c.received_at).where(_DELIVERIES.c.instance_id == instance_id)
    newest = connection.execute(here.where(*refused).order_by(order).limit(1)).scalar()
    return OnRecord(instance_id, users, events, count(_DELIVERIES, *refused), newest)


def instances_in(connection: Connection, table: Table) -> Iterator[UUID]:
    """Every instance in a table with an index that begins with it; one look-up for each."""
    beyond = f">= '{NOBODY.hex}'"
    while True:
        found = connection.exec_driver_sql(  # hex digits of our own; as text, as above
            f"SELECT instance_id FROM {table.name} WHERE instance_id {beyond} "  # noqa: S608
            "ORDER BY instance_id LIMIT 1"
        ).scalar()
        if found is None:
            return
        place = UUID(str(found))
        yield place
        beyond = f"> '{place.hex}'"
