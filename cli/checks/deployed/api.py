"""The API on a deployed site: it goes to Usher's function, is of this version, and knows nobody."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from usher.cli.checks.deployed.asking import Reply, Site
from usher.cli.checks.findings import Advice, Finding, Kind, Severity, fine
from usher.core.errors import NotThroughSiteError, UnauthenticatedError
from usher.functions._shared.headers import SECURITY_HEADERS

ABSENT = Kind(
    "api.absent",
    "{site}/api/health is not Usher's: the answer is {status}",
    (
        Advice(
            "Another redirect of the site takes /api, such as one to its first page.",
            "Put /api/* /.netlify/functions/api 200! before it, in _redirects or netlify.toml, "
            "and deploy.",
        ),
        Advice(
            "The site was deployed without the redirect.",
            "Run usher netlify setup in the site's repository, and deploy.",
        ),
    ),
)
PROXY_SECRET = Kind(
    "api.proxy_secret",
    "the API refuses what comes by the site, since it was not signed",
    (
        Advice(
            "USHER_PROXY_SECRET is set for functions, and is for an Usher on a host of its own.",
            "Remove USHER_PROXY_SECRET at Netlify, and deploy.",
        ),
    ),
)
FAILED = Kind(
    "api.failed",
    "{site}{path} answers {status} (code {code})",
    (
        Advice(
            "The function cannot use its settings or its database, or did not start.",
            "Read the log of the function api at Netlify. Mend what it names, and deploy.",
        ),
    ),
)
OPEN = Kind(
    "api.open",
    "{site}/api/me answers {status} to a request without a token",
    (
        Advice(
            "Something else answers there, or adds a caller's credentials.",
            "Take it away, and let /api/* lead to Usher's function alone.",
        ),
    ),
)
HEADERS = Kind(
    "api.headers",
    "answers of the API lack {names}",
    (
        Advice(
            "Something between takes these headers off.",
            "Take it away, or have it pass headers on.",
        ),
    ),
)
VERSION = Kind(
    "api.version",
    "the API at the site is not that of this version: {differs}",
    (
        Advice(
            "The site was deployed with another version of Usher than this one.",
            "Name this version in netlify/requirements.txt, and deploy; or install that one here.",
        ),
    ),
    Severity.WARNING,
)


def findings(site: Site) -> list[Finding]:
    """Return the findings on health, callers, headers and version."""
    health = site.ask("GET", "/api/health")
    if not health.is_found:
        return [ABSENT.found(site=site.url, status=health.status)]
    if health.code == NotThroughSiteError.code:
        return [PROXY_SECRET.found()]
    if health.status != 200:
        return [_failed(site, "/api/health", health)]
    if health.document.get("status") != "ok":
        return [ABSENT.found(site=site.url, status=health.status)]
    found = [*_caller_findings(site), *_header_findings(health), *_version_findings(site)]
    return found or [fine("api", "/api is Usher's, of this version, and refuses strangers")]


def _caller_findings(site: Site) -> Iterator[Finding]:
    answer = site.ask("GET", "/api/me")
    if answer.status < 400:
        yield OPEN.found(site=site.url, status=answer.status)
    elif (answer.status, answer.code) != (UnauthenticatedError.status, UnauthenticatedError.code):
        yield _failed(site, "/api/me", answer)


def _header_findings(answer: Reply) -> Iterator[Finding]:
    missing = [name for name in SECURITY_HEADERS if name.lower() not in answer.headers]
    if missing:
        yield HEADERS.found(names=", ".join(missing))


def _version_findings(site: Site) -> Iterator[Finding]:
    """Compare operations and fields. Sentences may differ by the version of Python."""
    from usher.functions.api_methods import OPERATIONS  # noqa: PLC0415 - with all models
    from usher.functions.api_methods.openapi import describe  # noqa: PLC0415 - likewise

    answer = site.ask("GET", "/api/openapi.json")
    if answer.status != 200:
        yield _failed(site, "/api/openapi.json", answer)
        return
    differing = sorted(_outline(answer.document) ^ _outline(describe(OPERATIONS)))
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        yield VERSION.found(differs=", ".join(differing[:3]) + more)


def _outline(document: Mapping[str, Any]) -> set[str]:
    """The operations, and the fields of each document."""
    paths = document.get("paths", {})
    schemas = document.get("components", {}).get("schemas", {})
    return {
        *(f"{method.upper()} {path}" for path, methods in paths.items() for method in methods),
        *(
            f"{name}.{field}"
            for name, each in schemas.items()
            for field in each.get("properties", ())
        ),
    }


def _failed(site: Site, path: str, answer: Reply) -> Finding:
    return FAILED.found(site=site.url, path=path, status=answer.status, code=answer.code)
