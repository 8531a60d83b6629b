"""The function of Identity's events on a deployed site: it refuses a forged one, and how."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from typing import Final

from usher.cli.checks.deployed.asking import Reply, Site
from usher.cli.checks.findings import Advice, Finding, Kind, Severity, fine
from usher.core.errors import NoDatabaseError, SettingsError, SignatureError
from usher.core.jws import sign_compact

PATH: Final = "/.netlify/functions/identity"
PATIENCE_SECONDS: Final = 5.0
"""Identity waits so long for an answer."""
COMFORT_SECONDS: Final = 2.5
"""A good event also waits for the database, so a refusal must leave room."""
HEADER: Final = b'{"alg":"HS256","typ":"JWT"}'
MORE: Final = (
    'put memory = "2gb" under [functions.identity] in netlify.toml, build without --plain, and '
    "deploy."
)
OUTDATED: Final = Advice(
    "The deployed functions are of an older version, or something stands before the site.",
    "Deploy the site from this version. Take away what stands before it, such as a proxy of yours.",
)

ABSENT = Kind(
    "hook.absent",
    "no function is at {path}: the answer is {status}",
    (
        Advice(
            "The site was deployed without Usher's functions.",
            "Run usher netlify setup in the site's repository, and deploy. The build's log at "
            "Netlify must say that the function identity was made.",
        ),
    ),
)
ACCEPTED = Kind(
    "hook.accepted",
    "{path} answers {status} to an event with a made-up signature",
    (
        Advice(
            "Another function has the name, and does not verify.",
            "Remove it, or rename it. Then deploy with usher netlify build.",
        ),
    ),
)
NO_DATABASE = Kind(
    "hook.no_database",
    "the function knows no PostgreSQL, so every sign-up fails",
    (
        Advice(
            "None is set, or a SQLite file is.",
            "Run netlify database init, or set USHER_DATABASE_URL at Netlify with the scopes "
            "builds and functions. Then deploy.",
        ),
    ),
)
SETTINGS = Kind(
    "hook.settings",
    "the function cannot use its settings, so every sign-up fails",
    (
        Advice(
            "A variable is missing at Netlify, lacks the scope functions, or has a bad value.",
            "Read the function's log at Netlify, which names it. Set it, and deploy.",
        ),
    ),
)
FAILED = Kind(
    "hook.failed",
    "{path} answers {status} (code {code}) to a forged event, so every sign-up fails, too",
    (
        Advice(
            "Python did not start or did not end in time.",
            f"Read the function's log at Netlify, and deploy again. Where memory or time ran out, "
            f"{MORE}",
        ),
    ),
)
OTHER = Kind(
    "hook.other",
    "{path} answers {status} to a forged event, and not as Usher does",
    (
        Advice(
            "The site asks visitors for a password, or a rule of Netlify's keeps Identity out.",
            "Take /.netlify/functions/identity out of it.",
        ),
        Advice("Another function has the name.", "Remove it, or rename it, and deploy."),
    ),
)
LENGTH = Kind(
    "hook.length",
    "an answer to Identity does not announce its length",
    (OUTDATED,),
)
ENCODED = Kind(
    "hook.encoded",
    "an answer to Identity is compressed ({encoding})",
    (OUTDATED,),
)
TRANSFORM = Kind(
    "hook.transform",
    "an answer to Identity lacks no-transform, so what is between may change it; "
    "Cache-Control is {cache_control}",
    (OUTDATED,),
)
SLOW = Kind(
    "hook.slow",
    "an answer to a forged event took {seconds} s, and Identity waits for {patience}",
    (
        Advice(
            "The function starts too slowly.",
            f"Look at the function's log at Netlify; {MORE}",
        ),
    ),
)
LATE = Kind(
    "hook.late",
    "an answer to a forged event took {seconds} s of the {patience} for which Identity waits, "
    "and a good one also asks the database",
    (
        Advice(
            "The function starts slowly.",
            f"Look at the function's log at Netlify; {MORE}",
        ),
    ),
    Severity.WARNING,
)


def deliver(site: Site) -> Reply:
    """Send an event that is signed by a secret of this moment, and is not in Identity's form.

    So it is refused for its signature, and is not counted as Identity's.
    """
    body = b"{}"
    claims = {
        "iss": "usher-doctor",
        "iat": int(time.time()),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    signature = sign_compact(HEADER, json.dumps(claims).encode(), secrets.token_bytes(32))
    headers = {
        "Content-Type": "application/json",
        "X-Webhook-Signature": signature,
        "Accept-Encoding": "gzip",  # as Identity's client
    }
    return site.ask("POST", PATH, headers, body)


def findings(site: Site, first: Reply) -> list[Finding]:
    """Return the findings on the first answer to a forged event, and on another one."""
    problem = _status_finding(first)
    if problem is not None:
        return [problem]
    second = deliver(site)
    found = [*_form_findings(first), *_time_findings(max(first.seconds, second.seconds))]
    if found:
        return found
    times = {"first_seconds": round(first.seconds, 2), "next_seconds": round(second.seconds, 2)}
    text = (
        f"a forged event is refused; the first answer took {first.seconds:.2f} s, the next "
        f"{second.seconds:.2f} s"
    )
    return [fine("hook", text, **times)]


def _status_finding(answer: Reply) -> Finding | None:
    facts = {"path": PATH, "status": answer.status}
    if not answer.is_found:
        return ABSENT.found(**facts)
    if answer.status < 400:
        return ACCEPTED.found(**facts)
    if answer.code == NoDatabaseError.code:
        return NO_DATABASE.found()
    if answer.code == SettingsError.code:
        return SETTINGS.found()
    if answer.status >= 500:
        return FAILED.found(**facts, code=answer.code)
    if (answer.status, answer.code) != (SignatureError.status, SignatureError.code):
        return OTHER.found(**facts)
    return None


def _form_findings(answer: Reply) -> Iterator[Finding]:
    headers = answer.headers
    if "content-length" not in headers or "transfer-encoding" in headers:
        yield LENGTH.found()
    if encoding := headers.get("content-encoding"):
        yield ENCODED.found(encoding=encoding)
    cache_control = headers.get("cache-control", "not there")
    if "no-transform" not in cache_control:
        yield TRANSFORM.found(cache_control=cache_control)


def _time_findings(seconds: float) -> Iterator[Finding]:
    kind = SLOW if seconds > PATIENCE_SECONDS else LATE if seconds > COMFORT_SECONDS else None
    if kind:
        yield kind.found(seconds=f"{seconds:.1f}", patience=f"{PATIENCE_SECONDS:g}")
