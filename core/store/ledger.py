"""The ledger: every delivery with a good signature, its outcome, reasons and reply."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import replace

from usher.core.domain.policy import Reason
from usher.core.domain.records import Delivery, Outcome, Page
from usher.core.domain.reply import Reply
from usher.core.errors import DeliveryNotFoundError
from usher.core.store.counters import Counted, Counters
from usher.core.store.database import Database, Transaction
from usher.core.store.filters import DeliveryFilters
from usher.core.store.instances import Instances
from usher.core.store.pruning import OldRows
from usher.core.store.statements import (
    INTO_DELIVERIES,
    NEWEST_SEQUENCE,
    REMOVE_DELIVERIES,
    REPLIES,
)
from usher.core.store.values import hex_of, time_text
from usher.core.strict_json import dumps

MIN_PREFIX: Final = 6
IMPORTED: Final = -1
"""``key_index`` of a delivery that none of our secrets verified: it came in a file."""


class Known(Struct, frozen=True):
    """The deliveries of a batch that the ledger has already.

    Attributes:
        replies: the stored replies by delivery id.
        superseded: failed and imported deliveries that were removed, for they are decided now.
    """

    replies: dict[str, Reply]
    superseded: tuple[Counted, ...]


class Ledger:
    """Records and finds deliveries. Lists and look-ups load SQLAlchemy, which no event needs.

    Args:
        instances: say whose deliveries are shown.
    """

    def __init__(self, database: Database, instances: Instances) -> None:
        self._database = database
        self._instances = instances
        self._old = OldRows("deliveries", "received_at")

    def known(self, transaction: Transaction, ids: Iterable[str]) -> Known:
        """The stored replies to deliveries that come again; unknown ids are left out.

        An imported delivery counts as unknown, since its reply is what a file says. So does a
        failed one, which has no good reply. Their rows are removed.
        """
        rows = transaction.fetch(REPLIES, list(ids))
        removed = [row for row in rows if _is_open(row)]
        if removed:
            transaction.send(REMOVE_DELIVERIES, [row[0] for row in removed])
        return Known(
            {row[0]: Reply(row[1], row[2], row[3]) for row in rows if row not in removed},
            tuple(Counted(row[6], row[8], row[7], row[5]) for row in removed),
        )

    def record(self, transaction: Transaction, deliveries: Sequence[Delivery]) -> None:
        """Add deliveries in their order of arrival. A known id is a conflict of the transaction."""
        transaction.insert(INTO_DELIVERIES, [_to_row(delivery) for delivery in deliveries])

    def add(self, deliveries: Sequence[Delivery]) -> int:
        """Import deliveries of another ledger; users are not touched.

        Returns:
            The number of new deliveries; known ones are left as they are.

        Raises:
            ConflictError: another writer added one of them first.
        """
        with self._database.write() as transaction:
            rows = transaction.fetch(REPLIES, [delivery.id for delivery in deliveries])
            known = {row[0] for row in rows}
            new = {
                each.id: replace(each, key_index=IMPORTED)
                for each in deliveries
                if each.id not in known
            }
            self.record(transaction, list(new.values()))
            counters = Counters()
            counters.count_deliveries(list(new.values()))
            counters.write(transaction)
        return len(new)

    def prune(self, before: datetime, *, step: int = 1_000) -> int:
        """Remove deliveries of any instance from before a time, in one transaction.

        Args:
            step: deliveries at most, so that no writer waits for long.

        Returns:
            The number removed; fewer than ``step`` means that none is left.
        """
        with self._database.write() as transaction:
            return self._old.remove(transaction, before, step)

    def find(self, prefix: str, *, of_any: bool = False) -> Delivery:
        """The one delivery whose id begins with ``prefix``.

        Args:
            of_any: of any instance, also of those whose events are not ours.

        Raises:
            DeliveryNotFoundError: the prefix is too short, or fits no delivery or several.
        """
        from usher.core.store import deliveries  # noqa: PLC0415 - as the class says

        if len(prefix) < MIN_PREFIX or not prefix.isprintable():
            raise DeliveryNotFoundError(f"Give at least {MIN_PREFIX} characters of the event's id.")
        with self._database.read() as transaction:
            instance_id = None if of_any else self._instances.shown(transaction)
            return deliveries.find(transaction.sql, prefix, instance_id)

    def newest_sequence(self) -> int:
        """The ``sequence`` of the newest delivery; 0 before the first."""
        with self._database.read() as transaction:
            return newest_sequence(transaction)

    def denied_after(self, sequence: int) -> list[Delivery]:
        """The denied deliveries after the one of this ``sequence``, the newest first."""
        from usher.core.store import deliveries  # noqa: PLC0415 - as the class says

        with self._database.read() as transaction:
            return deliveries.denied_after(transaction.sql, sequence)

    def refusal(self, address_key: str, after: datetime) -> str:
        """The newest sentence with which the policy refused this address; empty: it did not.

        Only what Identity sent and was answered counts, no replay and no import.

        Args:
            address_key: as ``usher.core.domain.events.address_key`` makes it.
            after: deliveries received later than this count.
        """
        from usher.core.store import deliveries  # noqa: PLC0415 - as the class says

        with self._database.read() as transaction:
            instance_id = self._instances.shown(transaction)
            return deliveries.refusal(transaction.sql, instance_id, address_key, after)

    def page(
        self,
        filters: DeliveryFilters = DeliveryFilters(),
        *,
        limit: int = 50,
        cursor: str | None = None,
        instance_id: UUID | None = None,
    ) -> Page[Delivery]:
        """One page of deliveries by time of receipt, the newest first.

        Args:
            instance_id: whose; None: those of the instance in use.
            limit: rows at most, between 1 and ``keyset.MAX_PAGE``.
            cursor: ``next_cursor`` of the page before; None: the first page.

        Raises:
            CursorInvalidError: the cursor is not one of this list.
        """
        from usher.core.store import deliveries  # noqa: PLC0415 - as the class says

        with self._database.read() as transaction:
            whose = self._instances.shown(transaction) if instance_id is None else instance_id
            return deliveries.page(transaction.sql, whose, filters, limit, cursor)


def newest_sequence(transaction: Transaction) -> int:
    """The ``sequence`` of the newest delivery; 0 before the first."""
    return transaction.fetch(NEWEST_SEQUENCE)[0][0] or 0


def _is_open(row: Any) -> bool:
    """Whether a delivery that comes again is decided, and not answered from its row."""
    return bool(row[4] == IMPORTED or row[5] == Outcome.FAILED.value or row[1] >= 500)


@lru_cache(maxsize=256)  # most deliveries have the reasons of others
def _reasons_text(reasons: tuple[Reason, ...]) -> str:
    return dumps([[reason.rule, reason.text] for reason in reasons])


def _to_row(delivery: Delivery) -> tuple[Any, ...]:
    """In the order of ``INTO_DELIVERIES``.

    The body is a bytearray, as sqlite3 takes it without a search for an adapter.
    """
    reply = delivery.reply
    return (
        delivery.id,
        hex_of(delivery.instance_id),
        delivery.event,
        None if delivery.user_id is None else hex_of(delivery.user_id),
        delivery.issued_at,
        time_text(delivery.received_at),
        delivery.path,
        None if delivery.body is None else bytearray(delivery.body),
        delivery.body_digest,
        delivery.key_index,
        delivery.outcome._value_,  # ``value`` is slow before Python 3.12
        _reasons_text(delivery.reasons),
        delivery.policy,
        delivery.origin,
        reply.status,
        reply.content_type,
        reply.body,
        delivery.address_key or None,
    )
