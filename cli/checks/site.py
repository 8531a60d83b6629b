"""The check of ``usher doctor`` on the site at Netlify: it passes the API on, and signs."""

from __future__ import annotations

from typing import Final

from usher.cli.checks.findings import Finding
from usher.core.errors import (
    IdentityAnswerTooLargeError,
    IdentityUnavailableError,
    NotThroughSiteError,
)
from usher.core.identity.http import BoundedHttp
from usher.core.settings import Settings

_IDENTITY_PATH: Final = "/.netlify/identity"


def site_findings(settings: Settings) -> list[Finding]:
    """Return one finding where requests must come through the site, else none."""
    if not settings.proxy_secret:
        return []
    if len(set(settings.proxy_secret)) < len(settings.proxy_secret):
        return [_bad("a proxy secret is listed twice", "Remove one of them.")]
    url = settings.identity_url or ""
    if not url.endswith(_IDENTITY_PATH):
        text = "the API answers only through the site; USHER_IDENTITY_URL does not say which"
        return [Finding("proxy", True, text)]
    return [_ask(url.removesuffix(_IDENTITY_PATH))]


def _ask(site: str) -> Finding:
    try:
        answer = BoundedHttp(site).request("GET", "/api/health", {})
    except (IdentityAnswerTooLargeError, IdentityUnavailableError):
        return _bad(
            f"{site}/api/health does not answer as Usher does",
            "Is the site deployed, with BACKEND_URL set when it was built?",
        )
    if answer.status == 200:
        return Finding("proxy", True, "what comes through the site is signed as it should be")
    if answer.document.get("code") == NotThroughSiteError.code:
        return _bad(
            "the site passes the API on, but unsigned or with another secret",
            "Set USHER_PROXY_SECRET to the same at Netlify and here, then deploy the site again.",
        )
    return _bad(
        f"{site}/api/health answers {answer.status}",
        "Is Usher running, and is it where BACKEND_URL said when the site was built?",
    )


def _bad(text: str, remedy: str) -> Finding:
    return Finding("proxy", False, text, remedy)
