"""What waits outside any request, for ``/metrics``, and whether events are taken.

Looked at now and then, and not when somebody asks, so that the page never waits for a database.
"""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from typing import TYPE_CHECKING

from core.errors import UsherError
from core.spool import Tally
from runtime.metrics import Metrics
from runtime.routes import is_degraded

if TYPE_CHECKING:
    from core.app import App


class Backlogs:
    """The gauges of one worker; with several, the newest look of any counts.

    Args:
        metrics: where the gauges are registered; NaN is what is not known, or not so.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._tally = Tally(app.settings.spool_folder)
        self._ready = metrics.measured(
            "usher_ready", "1 where an event would be taken now, as /readyz has it; else 0."
        )
        self._degraded = metrics.measured(
            "usher_degraded", "1 where it would go to the spool, for the database is away; else 0."
        )
        self._spooled = metrics.measured(
            "usher_spool_deliveries", "Deliveries kept on disk that wait for the database."
        )
        self._set_aside = metrics.measured(
            "usher_spool_set_aside", "Deliveries that the database would not take."
        )
        self._pushes = metrics.measured(
            "usher_pushes_pending", "Users of whom Identity must still be told."
        )
        self._pushes_since = metrics.measured(
            "usher_pushes_oldest_timestamp_seconds", "Since when the oldest of them is pending."
        )
        self._compared_at = metrics.measured(
            "usher_sync_completed_timestamp_seconds", "When the records were compared last."
        )
        self._differences = metrics.measured(
            "usher_sync_differences", "Differences from Identity that the last comparison left."
        )

    def step(self) -> bool:
        """Look once; there is never more to do."""
        self._spooled.set(_counted(self._tally.waiting))
        self._set_aside.set(_counted(self._tally.set_aside))
        if self._look_at_readiness():
            self._look_at_pushes()
            self._look_at_syncs()
        else:
            for gauge in (self._pushes, self._pushes_since, self._compared_at, self._differences):
                gauge.set(nan)
        return False

    def _look_at_readiness(self) -> bool:
        """Whether the database can be asked: one that is away is not waited for again."""
        try:
            degraded = is_degraded(self._app)
        except UsherError:  # the log of whoever is refused says why
            self._ready.set(0)
            self._degraded.set(nan)
            return False
        self._ready.set(1)
        self._degraded.set(degraded)
        return not degraded

    def _look_at_pushes(self) -> None:
        try:
            backlog = self._app.pushes.backlog()
        except UsherError:  # the database went away just now
            self._pushes.set(nan)
            self._pushes_since.set(nan)
            return
        self._pushes.set(backlog.count)
        self._pushes_since.set(backlog.since.timestamp() if backlog.since else nan)

    def _look_at_syncs(self) -> None:
        try:
            last = self._app.sync.completed()
        except UsherError:  # likewise; or there are several instances, and none is set
            last = None
        self._compared_at.set(last.at.timestamp() if last else nan)
        self._differences.set(sum(last.left.values()) if last else nan)


def _counted(count: Callable[[], int]) -> float:
    try:
        return count()
    except OSError:  # the folder cannot be read
        return nan
