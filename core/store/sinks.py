"""Sinks as rows: receivers of changes by webhook."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, insert, select, update

from usher.core.domain.sinks import CONSUMER, Secret, Sink
from usher.core.errors import SinkNotFoundError
from usher.core.store.database import Transaction
from usher.core.store.tables import CONSUMERS, OUTBOX, SINKS
from usher.core.texts import utc_text


def all_sinks(transaction: Transaction) -> list[Sink]:
    """Every sink, the oldest first."""
    rows = transaction.sql.execute(select(SINKS).order_by(SINKS.c.created_at, SINKS.c.id))
    return [_to_sink(row) for row in rows]


def count_sinks(transaction: Transaction) -> int:
    """How many sinks there are."""
    return int(transaction.sql.execute(select(func.count()).select_from(SINKS)).scalar_one())


def find_sink(transaction: Transaction, sink_id: UUID) -> Sink | None:
    """The sink with this id; None: there is none."""
    row = transaction.sql.execute(select(SINKS).where(SINKS.c.id == sink_id)).first()
    return None if row is None else _to_sink(row)


def get_sink(transaction: Transaction, sink_id: UUID) -> Sink:
    """The sink with this id, under lock: a change of it follows.

    Raises:
        SinkNotFoundError: there is none.
    """
    statement = select(SINKS).where(SINKS.c.id == sink_id).with_for_update()
    row = transaction.sql.execute(statement).first()
    if row is None:
        raise SinkNotFoundError(f"No sink has the id {sink_id}.")
    return _to_sink(row)


def is_removed(transaction: Transaction, consumer: str) -> bool:
    """Whether a consumer is a sink that was removed; one that is there stays for now."""
    if not consumer.startswith(CONSUMER):
        return False
    sink_id = UUID(consumer.removeprefix(CONSUMER))
    there = select(SINKS.c.id).where(SINKS.c.id == sink_id).with_for_update(read=True)
    return transaction.sql.execute(there).first() is None


def add_sink(transaction: Transaction, sink: Sink) -> None:
    """Add a sink."""
    transaction.sql.execute(insert(SINKS).values(_row(sink)))


def write_sink(transaction: Transaction, sink: Sink) -> None:
    """Write a sink that is there."""
    transaction.sql.execute(update(SINKS).where(SINKS.c.id == sink.id).values(_row(sink)))


def remove_sink(transaction: Transaction, sink: Sink) -> None:
    """Remove a sink, with its positions and the changes that wait for it."""
    # The positions first: a dispatcher that is just keeping its work would add a row otherwise.
    transaction.sql.execute(delete(CONSUMERS).where(CONSUMERS.c.name == sink.consumer))
    transaction.sql.execute(delete(OUTBOX).where(OUTBOX.c.consumer == sink.consumer))
    transaction.sql.execute(delete(SINKS).where(SINKS.c.id == sink.id))


def _row(sink: Sink) -> dict[str, Any]:
    secrets = [
        {"secret": each.text, "ends_at": utc_text(each.ends_at) if each.ends_at else None}
        for each in sink.secrets
    ]
    row = {column.name: getattr(sink, column.name) for column in SINKS.c}
    return row | {"kinds": list(sink.kinds), "secrets": secrets}


def _to_sink(row: Any) -> Sink:
    secrets = (
        Secret(each["secret"], datetime.fromisoformat(each["ends_at"]) if each["ends_at"] else None)
        for each in row.secrets
    )
    columns = {column.name: getattr(row, column.name) for column in SINKS.c}
    return Sink(**{**columns, "kinds": tuple(row.kinds), "secrets": tuple(secrets)})
