"""The check of the site at Netlify: it passes the API on, and signs."""

from __future__ import annotations

from typing import Final

from usher.cli.checks.findings import Advice, Finding, Kind, fine
from usher.core.errors import (
    IdentityAnswerTooLargeError,
    IdentityUnavailableError,
    NotThroughSiteError,
)
from usher.core.identity.http import BoundedHttp
from usher.core.settings import Settings

_IDENTITY_PATH: Final = "/.netlify/identity"

REPEATED = Kind(
    "proxy.repeated",
    "USHER_PROXY_SECRET lists the same secret twice",
    (
        Advice(
            "A change of secrets was begun, and the new one is missing.",
            "Set USHER_PROXY_SECRET to new,old; or, if none was meant, to the one secret.",
            settings=("USHER_PROXY_SECRET",),
        ),
    ),
)
NOT_USHER = Kind(
    "proxy.not_usher",
    "{site}/api/health is not answered by Usher: {error}",
    (
        Advice(
            "The site was built without BACKEND_URL, or is not deployed yet.",
            "Set BACKEND_URL at Netlify (scope: builds) to Usher's address, and deploy.",
        ),
        Advice(
            "USHER_IDENTITY_URL, by which the site is found, is not that of the site.",
            "Set USHER_IDENTITY_URL to https://SITE/.netlify/identity.",
            settings=("USHER_IDENTITY_URL",),
        ),
    ),
)
UNSIGNED = Kind(
    "proxy.unsigned",
    "the site passes the API on, but unsigned or with another secret",
    (
        Advice(
            "The secrets differ, or the site was deployed before its own was set.",
            "Set USHER_PROXY_SECRET to the same here and at Netlify (scopes: builds, post "
            "processing). Restart the server, and deploy the site again.",
            settings=("USHER_PROXY_SECRET",),
        ),
        Advice(
            "The server's clock is minutes off: Netlify's signature is good for five.",
            "Set it by NTP (timedatectl set-ntp true; of a container, on its host).",
        ),
    ),
)
STATUS = Kind(
    "proxy.status",
    "{site}/api/health answers {status}",
    (
        Advice("Usher does not run.", "Start it (usher serve)."),
        Advice(
            "It runs elsewhere than BACKEND_URL said when the site was built.",
            "Set BACKEND_URL at Netlify to its address, and deploy.",
        ),
        Advice(
            "The site asks for a password, or sends visitors on to another address.",
            "Set USHER_IDENTITY_URL to the address at which the site answers at last.",
            settings=("USHER_IDENTITY_URL",),
        ),
    ),
)


def site_findings(settings: Settings) -> list[Finding]:
    """Return one finding where requests must come through the site, else none."""
    if not settings.proxy_secret:
        return []
    if len(set(settings.proxy_secret)) < len(settings.proxy_secret):
        return [REPEATED.found()]
    url = settings.identity_url or ""
    if not url.endswith(_IDENTITY_PATH):
        text = "the API answers only through the site; USHER_IDENTITY_URL does not say which"
        return [fine("proxy", text)]
    return [_ask(url.removesuffix(_IDENTITY_PATH))]


def _ask(site: str) -> Finding:
    try:
        answer = BoundedHttp(site).request("GET", "/api/health", {})
    except (IdentityAnswerTooLargeError, IdentityUnavailableError) as error:
        return NOT_USHER.found(site=site, error=error.detail.replace("Identity", "The site"))
    if answer.status == 200:
        return fine("proxy", "what comes through the site is signed as it should be")
    if answer.document.get("code") == NotThroughSiteError.code:
        return UNSIGNED.found()
    return STATUS.found(site=site, status=answer.status)
