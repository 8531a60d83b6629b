"""The way to a deployed site: its address, its certificate, and no other way than HTTPS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from usher.cli.checks.deployed.asking import Reply, Site
from usher.cli.checks.findings import Advice, Finding, Kind, fine
from usher.core.http.interface import AnswerCutError, Failure, HttpError

PLAIN_PORT: Final = 80
REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_WORDS: Final = {
    Failure.CONNECT: "no connection",
    Failure.TIME: "no answer in time",
    Failure.BROKEN: "what comes is no HTTP",
}

UNREACHABLE = Kind(
    "site.unreachable",
    "{site} does not answer: {error}",
    (
        Advice("The address is mistyped, or not a site's.", "Ask for the address of the site."),
        Advice(
            "Netlify, or the way to it, is down; or an answer takes more than 20 seconds.",
            "Ask again. Then read the function's log at Netlify.",
        ),
    ),
)
CERTIFICATE = Kind(
    "site.certificate",
    "no TLS with {site} comes about: its certificate is not good",
    (
        Advice(
            "Netlify has no certificate for this domain yet.",
            "Look at Netlify under Domain management, HTTPS, and renew it there.",
        ),
        Advice(
            "Something between opens TLS, and this machine does not know its authority.",
            "Ask from elsewhere; or set SSL_CERT_FILE to a file with the authority.",
        ),
    ),
)
MOVED = Kind(
    "site.moved",
    "{site} sends visitors on to {location}, and Identity does not follow",
    (
        Advice(
            "The site's main address is another one.",
            "Ask for that one, and name it in Identity's webhook and in USHER_IDENTITY_URL.",
        ),
    ),
)
PLAIN = Kind(
    "site.plain",
    "http://{host}/ is answered {status}, and does not lead to https",
    (
        Advice(
            "HTTPS is not forced, so tokens can be read on the way.",
            "Turn on Force HTTPS at Netlify, under Domain management.",
        ),
    ),
)


def away_finding(site: Site, error: HttpError | AnswerCutError) -> Finding:
    """Return the finding for an error on the way."""
    if isinstance(error, HttpError) and error.failure is Failure.CERTIFICATE:
        return CERTIFICATE.found(site=site.url)
    words = (
        _WORDS[error.failure]
        if isinstance(error, HttpError)
        else "an answer is too large, or has no end"
    )
    return UNREACHABLE.found(site=site.url, error=words)


def moved_finding(site: Site, first: Reply) -> Finding | None:
    """Return a finding where the site sends the first request on."""
    if first.status not in REDIRECTS:
        return None
    return MOVED.found(site=site.url, location=first.headers.get("location", "nowhere"))


def findings(site: Site) -> Iterator[Finding]:
    """Yield one finding on HTTPS; none for a site on this machine."""
    if not site.is_secure:
        return
    try:
        answer = site.ask_url("HEAD", f"http://{site.host}:{PLAIN_PORT}/", {})
    except (HttpError, AnswerCutError):
        yield fine("site", "has a good certificate, and answers by https alone")
        return
    location = answer.headers.get("location", "")
    if answer.status in REDIRECTS and location.startswith("https://"):
        yield fine("site", "has a good certificate, and leads from http to https")
    else:
        yield PLAIN.found(host=site.host, status=answer.status)
