"""The check of pending pushes: changes of which Identity must still be told."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from usher.cli.checks.findings import Advice, Finding, Kind, fine
from usher.cli.output import counted, moment
from usher.core.app import App
from usher.core.errors import (
    BridgeError,
    IdentityAccountMissingError,
    IdentityAccountUnreadableError,
    IdentityAnswerTooLargeError,
    IdentityCredentialsError,
    IdentityRefusedError,
    IdentityRolesUnreadableError,
    IdentityUnavailableError,
)

IDLE: Final = timedelta(minutes=10)
"""A running server tries each push again every minute."""
_PROBLEM: Final = "Identity does not know of changes of {count:user} since {since} UTC: {error}"
_NOW: Final = ("usher sync --push",)

AWAY = Kind(
    "pushes.identity_away",
    _PROBLEM,
    (
        Advice(
            "Identity is or was away, or its address is wrong; see `identity`.",
            "Mend that first. A running server then tells it within a minute; or do so now.",
            commands=_NOW,
        ),
    ),
)
BRIDGE = Kind(
    "pushes.bridge_failed",
    _PROBLEM,
    (
        Advice(
            "The bridge on Netlify does not carry the calls out; see `bridge`.",
            "Mend that first. A running server then tells Identity within a minute; or do so now.",
            commands=_NOW,
        ),
    ),
)
CREDENTIALS = Kind(
    "pushes.credentials",
    _PROBLEM,
    (
        Advice(
            "Identity does not accept the credentials; see `identity`.",
            "Mend them first and restart the server. Within a minute it tells Identity; or do so "
            "now.",
            commands=_NOW,
        ),
    ),
)
NOT_CONFIGURED = Kind(
    "pushes.not_configured",
    "Identity does not know of changes of {count:user} since {since} UTC, and there are no "
    "credentials to tell it",
    (
        Advice(
            "The credentials were removed.",
            "Set USHER_IDENTITY_URL and USHER_IDENTITY_ADMIN_TOKEN again.",
            commands=_NOW,
            settings=("USHER_IDENTITY_URL", "USHER_IDENTITY_ADMIN_TOKEN"),
        ),
        Advice(
            "They were removed on purpose.",
            "Wait: each person's next login tells Identity of it.",
        ),
    ),
)
ACCOUNT_MISSING = Kind(
    "pushes.account_missing",
    "Identity has no account of {count:user} with changes since {since} UTC, such as {user}",
    (
        Advice(
            "The account was deleted at Identity, and the event that said so was lost.",
            "See at Identity that it is gone; then delete the user here as well, and ask again for "
            "the next one.",
            commands=("usher users delete {user}",),
        ),
        Advice(
            "USHER_IDENTITY_URL leads to another Identity.",
            "Set USHER_IDENTITY_URL to the site's own. `usher sync` tells whether it is: it stops "
            "where nobody is in common.",
            commands=_NOW,
            settings=("USHER_IDENTITY_URL",),
        ),
    ),
)
ROLES_UNREADABLE = Kind(
    "pushes.roles_unreadable",
    "the roles at Identity of {count:user}, such as {user}, cannot be read and are not written "
    "over, since {since} UTC: {error}",
    (
        Advice(
            "Somebody wrote app_metadata.roles there as something else than a list.",
            "Write it there as a list of role names, or as null (PUT /admin/users/{user}). A "
            "running server then tells it the rest within a minute; or do so now.",
            commands=_NOW,
        ),
    ),
)
ACCOUNT_UNREADABLE = Kind(
    "pushes.account_unreadable",
    "the account at Identity of {count:user}, such as {user}, cannot be read, since {since} UTC: "
    "{error}",
    (
        Advice(
            "It is too large, or a field is not as Identity writes it; its words say which.",
            "Shorten its metadata or mend that field at Identity (PUT /admin/users/{user}, where "
            "null removes a key). A running server then tells it within a minute; or do so now.",
            commands=_NOW,
        ),
    ),
)
REFUSED = Kind(
    "pushes.refused",
    "Identity refuses changes of {count:user} since {since} UTC, such as {user}: {error}",
    (
        Advice(
            "A role or a key of app_metadata that it does not take.",
            "Take back here what its words name (`usher users show {user}`).",
            commands=_NOW,
        ),
        Advice(
            "Identity has a fault of its own.",
            "Its log says more; a running server tries again every minute.",
        ),
    ),
)
FAILED = Kind(
    "pushes.failed",
    _PROBLEM,
    (
        Advice(
            "Not one that Usher knows; the log line push.failed has it in full.",
            "Mend what it names. A running server then tells Identity within a minute; or do so "
            "now.",
            commands=_NOW,
        ),
    ),
)
IDLE_PUSHES = Kind(
    "pushes.idle",
    "Identity does not know of changes of {count:user} since {since} UTC, and nobody tells it",
    (
        Advice(
            "No server runs, or it was started without the credentials.",
            "Start it (usher serve), or restart it; it tells Identity within a minute. Where only "
            "functions run, do so now, and from time to time.",
            commands=_NOW,
        ),
        Advice(
            "The functions on Netlify are given no token that suits (platform.token_ignored and "
            "platform.token_refused in their log).",
            "Enable Identity for the site, and set USHER_IDENTITY_URL to the address of which the "
            "log names the host.",
            settings=("USHER_IDENTITY_URL",),
        ),
    ),
)
BY_CODE: Final[Mapping[str, Kind]] = {
    IdentityUnavailableError.code: AWAY,
    BridgeError.code: BRIDGE,
    IdentityCredentialsError.code: CREDENTIALS,
    IdentityAccountMissingError.code: ACCOUNT_MISSING,
    IdentityAccountUnreadableError.code: ACCOUNT_UNREADABLE,
    IdentityAnswerTooLargeError.code: ACCOUNT_UNREADABLE,
    IdentityRolesUnreadableError.code: ROLES_UNREADABLE,
    IdentityRefusedError.code: REFUSED,
}


def push_findings(app: App) -> list[Finding]:
    """Return a finding for each way in which pushes fail."""
    backlog = app.pushes.backlog()
    if backlog.since is None:
        return [fine("pushes", "Identity knows of every change made here", count=0)]
    facts = {"count": backlog.count, "since": moment(backlog.since)}
    if app.settings.observes:
        told = f"waiting for {counted(backlog.count, 'user')} until Usher is live"
        return [fine("pushes", told, **facts)]
    if not app.settings.tells_identity:
        return [NOT_CONFIGURED.found(**facts)]
    if failures := app.pushes.failures():
        return [
            BY_CODE.get(each.code, FAILED).found(
                count=each.count,
                since=moment(each.since),
                code=each.code,
                error=each.error,
                user=str(each.user_id),
            )
            for each in failures
        ]
    if app.clock() - backlog.since > IDLE:
        return [IDLE_PUSHES.found(**facts)]
    text = f"pending for {counted(backlog.count, 'user')} since {facts['since']} UTC"
    return [fine("pushes", f"{text}; none failed yet", **facts)]
