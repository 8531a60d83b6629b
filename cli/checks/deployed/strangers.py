"""Addresses of a deployed site that nobody should find there: private files, other functions."""

from __future__ import annotations

from typing import Final

from usher.cli.checks.deployed.asking import Reply, Site
from usher.cli.checks.findings import Advice, Finding, Kind, fine
from usher.netlify.reserved import INSTEAD, NAMES

PRIVATE: Final = (
    "/.env",
    "/policy.toml",
    "/usher.db",
    "/netlify.toml",
    "/netlify/requirements.txt",
    "/netlify/usher/usher.mjs",
    "/.netlify/usher-setup.json",
)
MAINTENANCE: Final = "/.netlify/functions/usher-maintenance"

PUBLISHED = Kind(
    "published.private",
    "{site}{path} is there for everybody",
    (
        Advice(
            "The site publishes the whole folder of its repository.",
            "Put the pages into a folder of their own, set publish to it in netlify.toml, and "
            "deploy. Make new secrets where some were in what was published.",
        ),
    ),
)
RESERVED = Kind(
    "reserved.function",
    "{site}{path} is a function that Netlify itself calls with Identity's events",
    (
        Advice(
            "Netlify signs such a call with a secret that nobody is shown, so Usher could only "
            "refuse it, and with it every sign-up.",
            INSTEAD,
        ),
    ),
)
OPEN = Kind(
    "schedule.open",
    "everybody can start the maintenance: {path} answers {status}",
    (
        Advice(
            "Netlify took no schedule from the function, so it is one like others.",
            "Deploy with usher netlify build, and look whether Netlify shows it as scheduled.",
        ),
    ),
)


def findings(site: Site) -> list[Finding]:
    """Return the findings on files, functions with reserved names, and maintenance.

    Only headers are asked for. Where maintenance can be started, that does what its schedule does.
    """
    return [
        *(_published(site) or [fine("published", "no private file is served")]),
        *(_reserved(site) or [fine("reserved", "no function has a name that Netlify calls")]),
        *(
            _maintenance(site)
            or [fine("schedule", "nobody can start the maintenance by its address")]
        ),
    ]


def _published(site: Site) -> list[Finding]:
    return [
        PUBLISHED.found(site=site.url, path=path)
        for path in PRIVATE
        if _is_served(site.ask("HEAD", path))
    ]


def _is_served(answer: Reply) -> bool:
    """A site may answer any address with a page; no private file is one."""
    return answer.status == 200 and not answer.is_page


def _reserved(site: Site) -> list[Finding]:
    paths = [f"/.netlify/functions/{name}" for name in sorted(NAMES)]
    return [
        RESERVED.found(site=site.url, path=path)
        for path in paths
        if site.ask("HEAD", path).is_found
    ]


def _maintenance(site: Site) -> list[Finding]:
    answer = site.ask("HEAD", MAINTENANCE)
    if not answer.is_found or 400 <= answer.status < 500:
        return []
    return [OPEN.found(path=MAINTENANCE, status=answer.status)]
