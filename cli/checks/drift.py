"""The check of the last comparison with Identity: when it was, and which differences it left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from usher.cli.checks.findings import Advice, Finding, Kind, fine
from usher.cli.output import moment
from usher.core.app import App
from usher.core.domain.sync import PULLED, PUSHED
from usher.core.domain.sync import Kind as Difference

MOST_DAYS: Final = 30

HERE = Kind(
    "drift.here",
    "the comparison of {at} UTC left {count:difference} that are to be mended here: {kinds}",
    (
        Advice(
            "Events were lost, or people were changed at Identity in a way that sends none.",
            commands=("usher sync --pull",),
        ),
    ),
)
THERE = Kind(
    "drift.there",
    "the comparison of {at} UTC left {count:difference} that are to be mended at Identity: {kinds}",
    (
        Advice(
            "Identity was not told of changes here, or its answer to a login undid them.",
            commands=("usher sync --push",),
        ),
    ),
)
MISSING_THERE = Kind(
    "drift.missing_there",
    "at {at} UTC {count:user} here had no account at Identity",
    (
        Advice(
            "The accounts were deleted there and the events were lost, or a signup was given up.",
            "Leave tombstones of them. Over 5 % of all are refused: if that is meant, add --force.",
            commands=("usher sync --pull --prune",),
        ),
        Advice(
            "It is the last administrator, who is never removed.",
            "Make somebody else an administrator first (usher users grant EMAIL {admin}).",
            commands=("usher sync --pull --prune",),
        ),
    ),
)
DELETED_HERE = Kind(
    "drift.deleted_here",
    "at {at} UTC Identity still had accounts of {count:user} deleted here",
    (
        Advice(
            "They were deleted here while there were no credentials to tell Identity.",
            "Delete the accounts. Over 5 % of all are refused: if that is meant, add --force.",
            commands=("usher sync --push --prune",),
        ),
    ),
)
UNREADABLE = Kind(
    "drift.unreadable",
    "at {at} UTC {count:account} at Identity could not be read",
    (
        Advice(
            "They are too large, or not as Identity writes them (docs/sync.md).",
            "`usher sync` names each and says what to do at Identity. Do that, and compare again.",
            commands=("usher sync",),
        ),
    ),
)
ROLES_UNREADABLE = Kind(
    "drift.roles_unreadable",
    "at {at} UTC the roles of {count:account} at Identity could not all be read",
    (
        Advice(
            "Somebody wrote app_metadata.roles there, and not as a list of role names.",
            "`usher sync` names each. Make it a list of names at Identity, and compare again.",
            commands=("usher sync",),
        ),
    ),
)
OLD = Kind(
    "drift.old",
    "the records were last compared with Identity at {at} UTC, {days} days ago",
    (
        Advice(
            "Nobody does, and USHER_SYNC_INTERVAL_SECONDS is not set for the server.",
            commands=("usher sync",),
        ),
    ),
)


def drift_findings(app: App) -> list[Finding]:
    """Return the findings on the last complete comparison."""
    last = app.sync.completed()
    if last is None:
        return [fine("drift", "never compared with Identity; see: usher sync --help")]
    facts: dict[str, Any] = {"at": moment(last.at), "plan": last.plan}
    found = [
        kind.found(count=sum(some.values()), kinds=_named(some), left=some, **facts)
        for kind, members in ((HERE, PULLED), (THERE, PUSHED))
        if (some := {name: count for name, count in last.left.items() if name in members})
    ]
    for kind, name in (
        (MISSING_THERE, Difference.MISSING_THERE),
        (DELETED_HERE, Difference.DELETED_HERE),
        (UNREADABLE, Difference.UNREADABLE),
        (ROLES_UNREADABLE, Difference.ROLES_UNREADABLE),
    ):
        if count := last.left.get(name, 0):
            found.append(kind.found(count=count, admin=app.settings.admin_role, **facts))
    days = (app.clock() - last.at).days
    if days >= MOST_DAYS and not found and app.admin_ways:
        found.append(OLD.found(days=days, **facts))
    text = f"compared with Identity at {facts['at']} UTC ({last.plan}); no differences are left"
    return found or [fine("drift", text, days=days, **facts)]


def _named(some: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in some.items())
