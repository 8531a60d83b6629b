"""Maintenance: removes what is past its time, step by step.

That is old deliveries, differences of shadow policies, changes that are no longer tried and entries
of the audit, grants that have ended, tallies of quotas, and pending records that never became an
account, and what handlers wrote for people who are deleted since. It works in small
transactions, so that no event waits for long.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from usher.core.log import get_logger

if TYPE_CHECKING:
    from usher.core.identity.unconfirmed import Unconfirmed
    from usher.core.store.codes import Codes
    from usher.core.store.ledger import Ledger
    from usher.core.store.outbox_rows import Outbox
    from usher.core.store.shadows import Shadows
    from usher.core.users import UserService

STEP: Final = 200
"""Deliveries that are removed in one step."""
TALLIES_KEPT: Final = timedelta(days=30)
"""After the end of their window: an event that comes later than that finds an empty one."""


class Maintenance:
    """The maintenance of one database.

    Args:
        unconfirmed: the pending records.
        codes: knows the tallies.
        shadows: their differences are kept as long as deliveries.
        outbox: as are its dead letters.
        retention_days: age up to which deliveries are kept.
        clock: gives the current time, UTC.
        audit_retention_days: age up to which entries of the audit are kept; 0: for good.
    """

    def __init__(
        self,
        ledger: Ledger,
        users: UserService,
        unconfirmed: Unconfirmed,
        codes: Codes,
        shadows: Shadows,
        outbox: Outbox,
        retention_days: int,
        clock: Callable[[], datetime],
        *,
        audit_retention_days: int = 0,
    ) -> None:
        self._ledger = ledger
        self._users = users
        self._unconfirmed = unconfirmed
        self._codes = codes
        self._shadows = shadows
        self._outbox = outbox
        self._retention = timedelta(days=retention_days)
        self._audit_retention = timedelta(days=audit_retention_days)
        self._clock = clock

    def step(self) -> bool:
        """Take one step; True where there may be more to do.

        Raises:
            DatabaseError: the database cannot be used.
        """
        before = self._clock() - self._retention
        removed = self._ledger.prune(before, step=STEP)
        differences = self._shadows.prune(before, STEP)
        left = self._users.erase_left(before, step=STEP)
        changes = self._outbox.prune(before, STEP)
        ended = self._users.end_grants()
        entries = self._prune_audit()
        tallies = self._codes.prune_tallies(self._clock() - TALLIES_KEPT, step=STEP)
        pending = self._unconfirmed.step()
        gone = len(pending.removed)
        if removed or ended or entries or tallies or gone:
            get_logger().info(
                "maintenance.done",
                deliveries=removed,
                grants=ended,
                entries=entries,
                tallies=tallies,
                pending=gone,
            )
        full = STEP in (removed, differences, changes, left, entries, tallies)
        return full or ended > 0 or pending.more

    def _prune_audit(self) -> int:
        if not self._audit_retention:
            return 0
        return self._users.prune_audit(self._clock() - self._audit_retention, step=STEP)
