"""Gauges for ``/metrics``: work that waits outside any request, and readiness.

They are measured periodically, not on request, so that the page never waits for a database.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from math import nan
from typing import TYPE_CHECKING, Final

from usher.core.domain.sync_plan import UNREADABLE
from usher.core.errors import UsherError
from usher.core.spool.files import Tally
from usher.server.metrics import Metrics
from usher.server.routes import is_degraded

if TYPE_CHECKING:
    from usher.core.app import App

GAUGES: Final[Mapping[str, str]] = {
    "usher_ready": "1 where an event would be taken now, as /readyz has it; else 0.",
    "usher_degraded": "1 where it would go to the spool, for the database is away; else 0.",
    "usher_spool_deliveries": "Deliveries kept on disk that wait for the database.",
    "usher_spool_dead_letters": "Deliveries that the database would not take.",
    "usher_pushes_pending": "Users of whom Identity must still be told.",
    "usher_pushes_oldest_timestamp_seconds": "Since when the oldest of them is pending.",
    "usher_outbox_waiting": "Changes that handlers and sinks do not have yet.",
    "usher_outbox_oldest_timestamp_seconds": "The time of the oldest of them.",
    "usher_outbox_dead": "Changes that were given up.",
    "usher_sync_completed_timestamp_seconds": "When the records were compared last.",
    "usher_sync_differences": "Differences from Identity that the last comparison left.",
    "usher_sync_unreadable": "Accounts at Identity that the last comparison could not read.",
}


class Backlogs:
    """The gauges of one worker. With several workers, the newest value of any counts.

    Args:
        metrics: registers the gauges. NaN stands for unknown or none.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._tally = Tally(app.settings.spool_folder)
        self._gauges = {name: metrics.measured(name, text) for name, text in GAUGES.items()}

    def step(self) -> bool:
        """Measure once; there is never more to do."""
        known = self._look()
        for name, gauge in self._gauges.items():
            gauge.set(known.get(name, nan))
        return False

    def _look(self) -> dict[str, float]:
        found: dict[str, float] = {"usher_ready": 0}
        with suppress(OSError):  # the folder cannot be read
            found["usher_spool_deliveries"] = self._tally.waiting()
        with suppress(OSError):
            found["usher_spool_dead_letters"] = self._tally.dead_letters()
        with suppress(UsherError):  # the log of a refused event says why
            degraded = is_degraded(self._app)
            found |= {"usher_ready": 1, "usher_degraded": degraded}
            if not degraded:  # a database that is away is not waited for again
                found |= self._pushes() | self._outbox() | self._syncs()
        return found

    def _pushes(self) -> dict[str, float]:
        with suppress(UsherError):  # the database went away just now
            backlog = self._app.pushes.backlog()
            since = backlog.since.timestamp() if backlog.since else nan
            return {
                "usher_pushes_pending": backlog.count,
                "usher_pushes_oldest_timestamp_seconds": since,
            }
        return {}

    def _outbox(self) -> dict[str, float]:
        with suppress(UsherError):  # likewise
            found = self._app.outbox.standings()
            oldest = [each.oldest_at.timestamp() for each in found if each.oldest_at]
            return {
                "usher_outbox_waiting": sum(each.waiting + each.behind for each in found),
                "usher_outbox_oldest_timestamp_seconds": min(oldest, default=nan),
                "usher_outbox_dead": sum(each.dead for each in found),
            }
        return {}

    def _syncs(self) -> dict[str, float]:
        with suppress(UsherError):  # likewise; or there are several instances, and none is set
            if last := self._app.sync.completed():
                return {
                    "usher_sync_completed_timestamp_seconds": last.at.timestamp(),
                    "usher_sync_differences": sum(last.left.values()),
                    "usher_sync_unreadable": last.left.get(UNREADABLE, 0),
                }
        return {}
