"""The check of the shadow policy: that it loads, and that a server follows the ledger with it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from usher.cli.checks.findings import Advice, Finding, Kind, Severity, fine
from usher.cli.output import counted, moment
from usher.core.app import App
from usher.core.errors import PolicyError
from usher.core.policy_source import is_absent, load_policy

SILENT: Final = timedelta(minutes=5)
TOLD: Final = timedelta(days=1)
"""For so long it is told of that the process ended."""
LAG: Final = 1_000
_LOOK = "The server tells by the log lines shadow.ended and shadow.waits why."

SHADOW_INVALID = Kind(
    "shadow.invalid",
    "{where}: {problem}",
    (
        Advice(
            "The file that USHER_POLICY_SHADOW names has a mistake, or a list of it is not there.",
            "Correct it as docs/policy.md says; the running server takes it up by itself.",
        ),
    ),
)
ABSENT = Kind(
    "shadow.absent",
    "there is no {source} to compare with",
    (
        Advice(
            "It was promoted, and is the policy by now.",
            "Put the next one there, once there is one: the running server takes it up by itself.",
        ),
        Advice(
            "No other policy is meant to be compared.",
            "Take USHER_POLICY_SHADOW out, and start the server again.",
            settings=("USHER_POLICY_SHADOW",),
        ),
    ),
    Severity.WARNING,
)
UNFOLLOWED = Kind(
    "shadow.unfollowed",
    "no server follows the ledger with {source}",
    (
        Advice(
            "No server runs, or it was started before USHER_POLICY_SHADOW was set.",
            "Start it, or start it again.",
        ),
        Advice("Its process cannot start.", _LOOK),
        Advice(
            "There is no server: functions have no process for it.",
            "Try the policy on the past instead (usher policy try), and take USHER_POLICY_SHADOW "
            "out.",
            settings=("USHER_POLICY_SHADOW",),
        ),
    ),
    Severity.WARNING,
)
FAILING = Kind(
    "shadow.failing",
    "the process that follows with {source} ended at {at} UTC: {error}",
    (
        Advice(
            "The policy hangs, or keeps more and more in memory.",
            f"Mend it. {_LOOK} Wait: this is told for a day.",
        ),
    ),
    Severity.WARNING,
)
LAGGING = Kind(
    "shadow.lagging",
    "{count:event} not compared yet with {source}",
    (
        Advice(
            "The policy is slow, or the machine is busy: the process has the least priority.",
            "Wait, or make the policy faster; no answer waits for it.",
        ),
    ),
    Severity.WARNING,
)


def shadow_findings(app: App) -> list[Finding]:
    """Return the findings on the shadow policy; nothing where there is none."""
    source = app.settings.policy_shadow
    if not source:
        return []
    if is_absent(source):
        return [ABSENT.found(source=source)]
    try:
        load_policy(source)
    except PolicyError as error:
        return [SHADOW_INVALID.found(where=error.where, problem=error.problem)]
    run, now = app.shadows.run(source), app.clock()
    if run is None or now - run.seen_at > SILENT:
        return [UNFOLLOWED.found(source=source)]
    if run.failed_at is not None and now - run.failed_at < TOLD:
        return [FAILING.found(source=source, at=moment(run.failed_at), error=run.error)]
    behind = app.shadows.newest() - run.position
    if behind > LAG:
        return [LAGGING.found(source=source, count=behind)]
    text = f"{counted(run.events, 'event')} compared with {source} since {moment(run.begun_at)} UTC"
    return [fine("shadow", text, source=source, count=run.events)]
