"""The check of requests: people who wait for an administrator's decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from usher.cli.checks.findings import Advice, Finding, Kind, Severity
from usher.core.app import App

LONG_DAYS: Final = 7
"""Days after which an open request is told of."""

LONG = Kind(
    "approvals.long",
    "{count:request} to be decided, the oldest for {days:day}",
    (
        Advice(
            "No administrator has looked at the requests of people who wait to be let in, or ask "
            "for a role.",
            "Approve or decline each (usher requests approve, usher requests decline).",
            ("usher requests list",),
        ),
    ),
    Severity.WARNING,
)


def approvals_findings(app: App) -> list[Finding]:
    """Return one finding where somebody has waited long for a decision, else none."""
    count, oldest = app.requests.waiting()
    age = app.clock() - oldest if oldest is not None else timedelta(0)
    return [LONG.found(count=count, days=age.days)] if age > timedelta(days=LONG_DAYS) else []
