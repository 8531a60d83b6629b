"""What a server does beside answering: old deliveries go, and grants that have ended.

In small steps, each a transaction of its own, so that no event waits for long.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from usher.core.log import get_logger

if TYPE_CHECKING:
    from usher.core.store.ledger import Ledger
    from usher.core.users import UserService

STEP: Final = 200


class Maintenance:
    """The maintenance of one database.

    Args:
        retention_days: how long deliveries are kept.
    """

    def __init__(
        self,
        ledger: Ledger,
        users: UserService,
        retention_days: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._users = users
        self._retention = timedelta(days=retention_days)
        self._clock = clock

    def step(self) -> bool:
        """Do a little; whether there may be more to do.

        Raises:
            DatabaseError; SeveralInstancesError: no instance is set, and there are several.
        """
        removed = self._ledger.prune(self._clock() - self._retention, step=STEP)
        ended = self._users.end_grants()
        if removed or ended:
            get_logger().info("maintenance.done", deliveries=removed, grants=ended)
        return removed == STEP or ended > 0
