"""The checks of ``usher doctor`` at Identity: reachability, credentials, clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from usher.cli.checks.findings import Finding
from usher.core.app import App
from usher.core.errors import (
    BridgeError,
    IdentityAccountMissingError,
    IdentityAccountUnreadableError,
    IdentityAnswerTooLargeError,
    IdentityCredentialsError,
    IdentityNotConfiguredError,
    IdentityRefusedError,
    IdentityUnavailableError,
    UsherError,
)
from usher.core.identity.client import IdentityClient

MOST_SKEW_SECONDS: Final = 30
"""Half of what an event may lie ahead, since access tokens that end too late are worse."""

_REACH: Final = "Is Identity up, and USHER_IDENTITY_URL its address? docs/identity.md has examples."
_BRIDGE: Final = 'See docs/netlify.md, "The bridge": its address, its secret, its log.'
CREDENTIALS: Final[Mapping[str, str]] = {
    "USHER_IDENTITY_ADMIN_TOKEN": (
        "Set it to Identity's operator token (GOTRUE_OPERATOR_TOKEN), or remove it."
    ),
    "USHER_JWT_SECRET": "Set it to the secret that signs access tokens (GOTRUE_JWT_SECRET).",
    "USHER_BRIDGE_SECRET": 'Is Identity enabled for the site? docs/netlify.md, "The bridge".',
}
_PUSHES: Final[Mapping[str, str]] = {
    IdentityUnavailableError.code: f"It is tried again every minute. {_REACH}",
    BridgeError.code: f"It is tried again every minute. {_BRIDGE}",
    IdentityCredentialsError.code: "Mend the credentials (see identity above); then it goes on.",
    IdentityNotConfiguredError.code: (
        "Set the credentials again; without them it waits for the next login."
    ),
    IdentityAccountMissingError.code: (
        "The account is not at Identity: delete the user here (usher users delete) if it is gone."
    ),
    IdentityAccountUnreadableError.code: (
        "The account cannot be read at Identity: mend it there, or delete it. Others go on."
    ),
    IdentityAnswerTooLargeError.code: "Shorten the account's metadata at Identity. Others go on.",
    IdentityRefusedError.code: "See what Identity said, and its log.",
}


def push_remedy(code: str) -> str:
    """Return what to do about pushes that fail with this error code."""
    return _PUSHES.get(code, "The log says more at push.failed; it is tried again every minute.")


def identity_findings(app: App) -> list[Finding]:
    """Return one finding for each kind of credentials, and one for the clocks."""
    url = app.settings.identity_url
    if not app.admin_ways:
        text = "no admin credentials: roles reach tokens with the next login"
        return [Finding("identity", True, text)]
    findings = []
    headers: Mapping[str, str] = {}
    for setting, way in app.admin_ways.items():
        try:
            headers = IdentityClient(url, way).probe()
        except IdentityCredentialsError:
            text = f"Identity does not accept {setting} for its admin API"
            findings.append(Finding("identity", False, text, CREDENTIALS[setting]))
        except BridgeError as error:
            findings.append(Finding("bridge", False, error.detail, _BRIDGE))
        except UsherError as error:
            findings.append(Finding("identity", False, error.detail, _REACH))
            break
        else:
            text = f"Identity accepts {setting} for its admin API"
            findings.append(Finding("identity", True, text))
    if headers:
        findings.append(_skew(headers.get("date", ""), datetime.now(UTC)))
    return findings


def _skew(date: str, now: datetime) -> Finding:
    """Compare Identity's clock with ours, by the Date of its answer, in whole seconds."""
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return Finding("skew", True, "Identity does not say what time it has")
    seconds = round((now - theirs).total_seconds())
    text = f"our clock and Identity's are {abs(seconds)} s apart"
    if abs(seconds) > MOST_SKEW_SECONDS:
        which = "ahead" if seconds > 0 else "behind"
        return Finding("skew", False, f"{text}: ours is {which}", "Set both clocks by NTP.")
    return Finding("skew", True, text)
