"""Policy trials on a ledger: a small one in this process, a large one in a process per core."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Final
from uuid import UUID

from usher.cli.output import collecting_less
from usher.core.app import App
from usher.core.domain.differences import Differences
from usher.core.domain.trial import try_on_user
from usher.core.policy_source import load_policy
from usher.core.settings import Settings
from usher.core.store.filters import DeliveryFilters
from usher.core.store.history import History
from usher.core.webhooks import event_of

SMALL: Final = 20_000
"""Events. With fewer, starting processes takes longer than they save."""
SHARES: Final = 16


@dataclass
class Trial:
    """The result of a policy trial."""

    events: int = 0
    users: int = 0
    differences: Differences = field(default_factory=Differences)

    def add(self, other: Trial) -> None:
        """Add the result of another share."""
        self.events += other.events
        self.users += other.users
        self.differences.add(other.differences)


def try_policy(
    app: App, source: str, since: datetime | None, count: int, tell: Callable[[int], None]
) -> Trial:
    """Try a policy on the ledger of ``app``.

    Args:
        source: the policy, as a path or ``package.module:function``.
        count: of events in the ledger, roughly.
        tell: called with the number of events done since the last call.
    """
    total = Trial()
    if count < SMALL:
        for share in range(SHARES):
            found = _try_share(app, source, since, share)
            total.add(found)
            tell(found.events)
        return total
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=context) as pool:
        started = [
            pool.submit(_in_process, app.settings, source, since, share) for share in range(SHARES)
        ]
        try:
            for done in as_completed(started):
                tell(done.result().events)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    for each in started:  # in order, so that the examples are the same every time
        total.add(each.result())
    return total


def _in_process(settings: Settings, source: str, since: datetime | None, share: int) -> Trial:
    app = App(settings)
    try:
        with collecting_less():
            return _try_share(app, source, since, share)
    finally:
        app.close()


def _try_share(app: App, source: str, since: datetime | None, share: int) -> Trial:
    """Try the policy on the users in one sixteenth of all ids; version 4 UUIDs spread evenly."""
    first, last = UUID(int=share << 124), UUID(int=((share + 1) << 124) - 1)
    new = load_policy(source)
    trial = Trial()
    history = History(app.store.database, app.store.instance())
    kept = history.by_user(DeliveryFilters(since=since), first, last)
    for _, group in groupby(kept, key=lambda each: (each.instance_id, each.user_id)):
        seen = [
            (event, delivery.received_at)
            for delivery in group
            if (event := event_of(delivery)) is not None
        ]
        count = try_on_user(seen, app.policy, new, trial.differences)
        trial.events += count
        trial.users += bool(count)
    return trial
