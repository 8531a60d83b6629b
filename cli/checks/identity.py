"""The checks at Identity: reachability, credentials, the bridge, and the clocks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from usher.cli.checks.findings import Advice, Finding, Kind, fine
from usher.core.app import PLATFORM, App
from usher.core.errors import (
    BridgeError,
    IdentityAccountUnreadableError,
    IdentityCredentialsError,
    IdentityRefusedError,
    UsherError,
)
from usher.core.identity.client import IdentityClient

BY_PLATFORM: Final = "functions on Netlify get a token for its admin API; no other process does"
MOST_SKEW_SECONDS: Final = 30
"""Half of what an event may lie ahead, since access tokens that end too late are worse."""
_BRIDGE: Final = 'docs/netlify-proxy.md, "The bridge"'

UNREACHABLE = Kind(
    "identity.unreachable",
    "at {url}: {error}",
    (
        Advice(
            "USHER_IDENTITY_URL is not its address.",
            "Set USHER_IDENTITY_URL to https://SITE/.netlify/identity, or to the root of a GoTrue "
            "server.",
            settings=("USHER_IDENTITY_URL",),
        ),
        Advice("It is down, or has a fault.", "Start it; its own log says why it went away."),
        Advice(
            "This machine may not connect to it.",
            "Open {url}/health from here, and look at firewalls and proxies.",
        ),
    ),
)
NOT_THERE = Kind(
    "identity.not_there",
    "at {url} something else answers: {error}",
    (
        Advice(
            "USHER_IDENTITY_URL lacks the path, or has another.",
            "Set USHER_IDENTITY_URL to https://SITE/.netlify/identity, or to the root of a GoTrue "
            "server.",
            settings=("USHER_IDENTITY_URL",),
        ),
        Advice("Identity is not enabled for the site.", "Enable it in the site's settings."),
    ),
)
ADMIN_TOKEN = Kind(
    "identity.admin_token",
    "Identity does not accept USHER_IDENTITY_ADMIN_TOKEN for its admin API",
    (
        Advice(
            "It is not Identity's operator token.",
            "Set USHER_IDENTITY_ADMIN_TOKEN to the value of GOTRUE_OPERATOR_TOKEN there; or remove "
            "it, where Identity has none.",
            settings=("USHER_IDENTITY_ADMIN_TOKEN",),
        ),
        Advice(
            "USHER_IDENTITY_URL leads to another Identity.",
            "Set USHER_IDENTITY_URL to the site's own.",
            settings=("USHER_IDENTITY_URL",),
        ),
    ),
)
JWT_SECRET = Kind(
    "identity.jwt_secret",
    "Identity does not accept tokens signed with USHER_JWT_SECRET for its admin API",
    (
        Advice(
            "It is not the secret that signs Identity's access tokens.",
            "Set USHER_JWT_SECRET to the value of GOTRUE_JWT_SECRET there.",
            settings=("USHER_JWT_SECRET",),
        ),
        Advice(
            "This machine's clock is over a minute behind: such a token is good for a minute.",
            "Set it by NTP (timedatectl set-ntp true; of a container, on its host).",
        ),
    ),
)
BRIDGED = Kind(
    "identity.bridge",
    "Identity does not do what the bridge asks: {error}",
    (
        Advice(
            "It is not enabled for the site, or was enabled after the last deploy.",
            f"Enable it and deploy again ({_BRIDGE}).",
        ),
        Advice("Identity at Netlify is down.", "Wait, and look at Netlify's status page."),
    ),
)
BRIDGE_UNREACHABLE = Kind(
    "bridge.unreachable",
    "{error}",
    (
        Advice(
            "USHER_BRIDGE_URL is not the address of the site.",
            "Set USHER_BRIDGE_URL to https://SITE/.netlify/functions/usher-bridge.",
            settings=("USHER_BRIDGE_URL",),
        ),
        Advice("This machine may not connect to it.", "Look at firewalls and proxies."),
    ),
)
BRIDGE_ABSENT = Kind(
    "bridge.absent",
    "{error}",
    (
        Advice(
            "USHER_BRIDGE_URL has another path, or is that of another site.",
            "Set USHER_BRIDGE_URL to https://SITE/.netlify/functions/usher-bridge.",
            settings=("USHER_BRIDGE_URL",),
        ),
        Advice(
            "The site was built without the function, or the function does not start.",
            f"Deploy the site from the repository; the log of the function says more ({_BRIDGE}).",
        ),
    ),
)
BRIDGE_CLOSED = Kind(
    "bridge.closed",
    "{error}",
    (
        Advice(
            "The function has no USHER_BRIDGE_SECRET of at least 32 bytes.",
            "Give the site's functions at Netlify the same USHER_BRIDGE_SECRET as here; deploy.",
        ),
        Advice(
            "Netlify gave the function no admin token.", "Enable Identity for the site, and deploy."
        ),
    ),
)
BRIDGE_SIGNATURE = Kind(
    "bridge.signature",
    "the bridge does not accept Usher's signature",
    (
        Advice(
            "The secrets differ.",
            "Set USHER_BRIDGE_SECRET to the same as at Netlify (scope: functions).",
            settings=("USHER_BRIDGE_SECRET",),
        ),
        Advice(
            "This machine's clock is more than 30 seconds off.",
            "Set it by NTP (timedatectl set-ntp true; of a container, on its host).",
        ),
    ),
)
BRIDGE_FAILED = Kind(
    "bridge.failed",
    "{error}",
    (
        Advice(
            "Usher and the site are of two versions.",
            f"Deploy the site from the same version ({_BRIDGE}).",
        ),
    ),
)
_CREDENTIALS: Final[Mapping[str, Kind]] = {
    "USHER_IDENTITY_ADMIN_TOKEN": ADMIN_TOKEN,
    "USHER_JWT_SECRET": JWT_SECRET,
    "USHER_BRIDGE_SECRET": BRIDGED,
}
_FAULTS: Final[Mapping[str, Kind]] = {
    "unreachable": BRIDGE_UNREACHABLE,
    "absent": BRIDGE_ABSENT,
    "closed": BRIDGE_CLOSED,
    "signature": BRIDGE_SIGNATURE,
}
_NTP: Final = (
    Advice(
        "This machine's clock is wrong.",
        "Set it by NTP (timedatectl set-ntp true; of a container, on its host).",
    ),
    Advice("The clock of Identity's server is wrong.", "If it is yours, set it by NTP."),
)
AHEAD = Kind("skew.ahead", "our clock is {seconds} s ahead of Identity's", _NTP)
BEHIND = Kind("skew.behind", "our clock is {seconds} s behind Identity's", _NTP)


def identity_findings(app: App) -> list[Finding]:
    """Return one finding for each kind of credentials, and one for the clocks."""
    if not app.admin_ways:
        return [fine("identity", "no admin credentials: roles reach tokens with the next login")]
    findings = []
    headers: Mapping[str, str] = {}
    for setting, way in app.admin_ways.items():
        if setting == PLATFORM:
            findings.append(fine("identity", BY_PLATFORM, setting=setting))
            continue
        try:
            headers = IdentityClient(app.settings.identity_url, way).probe()
        except IdentityAccountUnreadableError:  # it answered with an account
            findings.append(_accepted(setting))
        except UsherError as error:
            findings.append(_failed(error, setting, app.settings.identity_url or ""))
            if findings[-1].key == UNREACHABLE.key:
                break  # for the other credentials it would be as far away
        else:
            findings.append(_accepted(setting))
    return [*findings, _skew(headers.get("date", ""), datetime.now(UTC))] if headers else findings


def _accepted(setting: str) -> Finding:
    return fine("identity", f"Identity accepts {setting} for its admin API", setting=setting)


def clocks_agree(findings: list[Finding]) -> bool:
    """Whether Identity said just now what time it has, and it is ours."""
    return any("seconds" in each.facts and each.well for each in findings if each.name == "skew")


def _failed(error: UsherError, setting: str, url: str) -> Finding:
    if isinstance(error, BridgeError):
        return _FAULTS.get(error.fault, BRIDGE_FAILED).found(error=error.detail)
    if setting == "USHER_BRIDGE_SECRET" or isinstance(error, IdentityCredentialsError):
        return _CREDENTIALS[setting].found(setting=setting, error=error.detail)
    kind = NOT_THERE if isinstance(error, IdentityRefusedError) else UNREACHABLE
    return kind.found(url=url, error=error.detail)


def _skew(date: str, now: datetime) -> Finding:
    """Compare Identity's clock with ours, by the Date of its answer, in whole seconds."""
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return fine("skew", "Identity does not say what time it has")
    seconds = round((now - theirs).total_seconds())
    if abs(seconds) > MOST_SKEW_SECONDS:
        return (AHEAD if seconds > 0 else BEHIND).found(seconds=abs(seconds))
    return fine("skew", f"our clock and Identity's are {abs(seconds)} s apart", seconds=seconds)
