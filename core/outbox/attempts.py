"""One attempt to hand a change over, and what becomes of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from msgspec import structs

from usher.core.domain.failures import shown
from usher.core.domain.outbox import Change, Write
from usher.core.domain.outbox_attempts import failed, without_account
from usher.core.domain.outbox_queue import Step, Waiting
from usher.core.errors import DatabaseError, NotStorableError, OutOfTimeError, UsherError
from usher.core.log import get_logger
from usher.core.outbox.consumer import Consumer, Done, Failed, Gone, Starting
from usher.core.outbox.work import Work
from usher.core.store.database import Transaction

MAX_ERROR: Final = 300
Apply = Callable[[Transaction, str, Change, Write], object]
"""Writes what a handler returned: (transaction, consumer, change, write)."""


class Accounts(Protocol):
    """Identity's accounts."""

    def has(self, user_id: UUID) -> bool:
        """Whether Identity has this account.

        Raises:
            UsherError: Identity does not say.
        """


class GoneError(Exception):
    """The consumer wants no change any more."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Attempts:
    """Attempts with one consumer.

    Args:
        clock: gives the current time, UTC.
        accounts: None where Identity cannot be asked.
        apply: None where no consumer writes.
    """

    def __init__(
        self,
        consumer: Consumer,
        clock: Callable[[], datetime],
        accounts: Accounts | None,
        apply: Apply | None,
    ) -> None:
        self._consumer = consumer
        self._clock = clock
        self._accounts = accounts
        self._apply = apply

    def make(self, work: Work, step: Step, row: Waiting) -> None:
        """Hand one change over, and take in what becomes of it."""
        if not self._is_settled(work, step, row):
            return
        problem = self._consumer.start() if isinstance(self._consumer, Starting) else None
        if problem is not None:
            self.fail(work, row, problem)
            return
        work.renew()
        try:
            result = self._consumer.hand_over(step.change)
        except Exception as error:  # noqa: BLE001 - of somebody's code; its message may hold anything
            result = Failed(type(error).__name__)
        if isinstance(result, Gone):
            raise GoneError(result.why)
        if isinstance(result, Done):
            if result.write is None:
                work.done(row)
                return
            result = self._write(work, step, row, result.write)
        if isinstance(result, Failed):
            self.fail(work, row, result)

    def _is_settled(self, work: Work, step: Step, row: Waiting) -> bool:
        """Whether Identity has the account, where it must; else the change waits."""
        if not step.asks or self._accounts is None:
            return True
        try:
            if self._accounts.has(step.key[1]):
                return True
        except DatabaseError:
            raise
        except OutOfTimeError:  # no attempt was made, so none has failed
            work.wait(structs.replace(row, due_at=self._clock()))
            return False
        except UsherError as error:
            self.fail(work, row, Failed(f"Identity could not be asked: {error.code}"))
            return False
        work.wait(without_account(row, self._clock(), _chance()))
        return False

    def _write(self, work: Work, step: Step, row: Waiting, write: Write) -> Done | Failed:
        """Write what a handler returned, and that the change is done, in one transaction."""
        apply, name = self._apply, self._consumer.name
        if apply is None:
            return Failed("nothing takes what this handler returned")
        work.keep()
        work.forget(row)
        if not row.id:
            work.place = step.place
        try:
            work.keep(lambda transaction: apply(transaction, name, step.change, write))
        except UsherError as error:
            if isinstance(error, DatabaseError) and not isinstance(error, NotStorableError):
                raise
            work.remember(row)
            return Failed(f"{error.code}: {shown(error.detail)}")
        work.handed_over += 1
        return Done()

    def fail(self, work: Work, row: Waiting, result: Failed) -> None:
        """Take in a failed attempt."""
        error = result.error[:MAX_ERROR]
        row = failed(row, error, self._clock(), _chance(), result.retry_after)
        work.wait(row)
        facts = {"consumer": row.consumer, "change_id": row.change_id, "tries": row.tries}
        if row.is_waiting:
            get_logger().warning("outbox.failed", **facts, detail=error)
        else:
            get_logger().error("outbox.dead", **facts, detail=error)


def _chance() -> float:
    """Changes that failed together must not come back together."""
    return random.random()  # noqa: S311 - not for a secret
