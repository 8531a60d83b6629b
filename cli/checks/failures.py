"""The check of events that failed."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from usher.cli.checks.findings import Advice, Finding, Kind, fine
from usher.cli.output import moment
from usher.core.app import App
from usher.core.domain.failures import in_words
from usher.core.domain.records import ERASED, Delivery, Outcome
from usher.core.store.filters import DeliveryFilters

TOLD_DAYS: Final = 7
"""Days for which a failed event is told of."""
FAILED = Kind(
    "failures.failed",
    "{count:event} failed in {days} days, the newest at {at} UTC: {said}",
    (
        Advice(
            "The line that is named raises an exception, in the policy or in code that it calls.",
            "See the whole traceback: usher policy explain {event}. Mend that line, and start the "
            "server again. A person who was turned away tries again; what Identity does not send "
            "again (usermodified, userdeleted) is applied by: usher events again ID. This is told "
            f"for {TOLD_DAYS} days; all of them: usher events list --outcome failed",
        ),
        Advice(
            "The database refuses what the event would write: it then says NotStorableError.",
            "Mend the trigger, the constraint or the column that it names; Usher's own tables have "
            "none that refuses an event. Then as above: usher events again ID",
        ),
    ),
)


def failures_finding(app: App) -> Finding:
    """Tell how many events failed in the last days, and where the newest did."""
    first = app.clock() - timedelta(days=TOLD_DAYS - 1)
    by_day = app.store.users.counts("day", f"{first:%Y-%m-%d}")
    count = sum(n for name, n in by_day.items() if name.endswith(f":{Outcome.FAILED.value}"))
    newest = _newest(app) if count else None
    if newest is None:
        return fine("failures", f"no event failed in {TOLD_DAYS} days", days=TOLD_DAYS)
    return FAILED.found(
        count=count,
        days=TOLD_DAYS,
        at=moment(newest.received_at),
        event=newest.id[:20],
        said=in_words(newest.reasons) or ERASED.text,
    )


def _newest(app: App) -> Delivery | None:
    filters = DeliveryFilters(
        outcome=Outcome.FAILED.value, since=app.clock() - timedelta(days=TOLD_DAYS)
    )
    cursor = None
    while True:
        page = app.store.ledger.page(filters, limit=1, cursor=cursor)
        if page.items or page.next_cursor is None:
            return next(iter(page.items), None)
        cursor = page.next_cursor
