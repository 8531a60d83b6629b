"""``usher doctor``: check everything that Usher needs, and name a remedy for each fault."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from usher import migrations
from usher.cli.checks.failures import failures_finding
from usher.cli.checks.findings import Finding
from usher.cli.checks.identity import identity_findings, push_remedy
from usher.cli.checks.site import site_findings
from usher.cli.environment import ENV, installation
from usher.cli.git import tracks
from usher.cli.instance import in_words
from usher.cli.output import json_option, moment, print_json
from usher.core.app import App, use
from usher.core.errors import (
    DatabaseAwayError,
    ExtraMissingError,
    NotMigratedError,
    SettingsError,
    SeveralInstancesError,
    UsherError,
)
from usher.core.settings import Settings
from usher.core.spool.files import DEAD_LETTERS, Spool, waiting
from usher.core.store.instances import OnRecord, adopted, others

MOST_DRIFT_DAYS = 30

DATABASE_REMEDY: Final = (
    "See that it runs, that USHER_DATABASE_URL leads to it, and that it can be written to: neither "
    "read-only nor full, nor locked by somebody else."
)
INSTANCES_REMEDY: Final = (
    "Set USHER_INSTANCE_ID to the one that is meant; usher instance shows what is of each."
)
REFUSED_WITHIN_DAYS: Final = 7
"""Refused events of other instances that are older are no reason to act any more."""
GIT_REMEDY: Final = "Run: git rm --cached .env. Then make new secrets: usher secret"
SPOOL_REMEDY: Final = "Make the folder writable, or set USHER_SPOOL."
DEAD_LETTERS_REMEDY: Final = (
    "Mend what the log names, then rename the file so that it ends in .spool: a running server "
    "tries it again within a second."
)


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check settings, secrets, database, policy, spool, clock, Identity, and the site on Netlify.

    Exits with 1 when something is wrong.
    """
    findings = examine()
    if as_json:
        print_json([_document(finding) for finding in findings])
    else:
        for finding in findings:
            mark = (
                click.style("ok  ", fg="green") if finding.well else click.style("BAD ", fg="red")
            )
            click.echo(f"{mark}{finding.name:<10} {finding.text}")
            if finding.remedy:
                click.echo(f"    {'':<10} -> {finding.remedy}")
    sys.exit(0 if all(finding.well for finding in findings) else 1)


def examine() -> list[Finding]:
    """Return all findings. Without usable settings, there are findings on settings only."""
    try:
        settings = Settings.from_env(installation())
    except SettingsError as error:
        return [Finding("settings", False, problem) for problem in error.problems]
    findings = [
        Finding("settings", True, "every setting is usable"),
        _secrets(settings),
        _api(settings),
    ]
    if tracks(ENV):
        findings.append(Finding("git", False, ".env is in git, and so are its secrets", GIT_REMEDY))
    with use(App(settings)) as app:
        database = _try("database", lambda: _database(app), DATABASE_REMEDY)
        findings.append(database)
        findings.append(
            _try(
                "policy",
                lambda: f"is fine (fingerprint {app.policy.fingerprint})",
                "Run: usher policy check",
            )
        )
        findings.append(_spool(app))
        if database.well and not migrations.pending(app.store.database):
            findings.append(_instance(app))
            findings.append(_try("clock", lambda: _clock(app), "Set the system's clock (NTP)."))
            findings += [_failures(app), _pushes(app), _drift(app)]
        findings += [*identity_findings(app), *site_findings(settings)]
    return findings


def _secrets(settings: Settings) -> Finding:
    lengths = [len(secret) for secret in settings.webhook_secrets]
    repeated = len(set(settings.webhook_secrets)) < len(lengths)
    weak = [secret for secret in settings.webhook_secrets if len(set(secret)) < 10]
    if weak:
        return Finding(
            "secrets", False, "a webhook secret has hardly any variety", "Run: usher secret"
        )
    text = f"webhook secrets: {len(lengths)}, the shortest of {min(lengths)} bytes"
    if repeated:
        return Finding("secrets", False, "a webhook secret is listed twice", "Remove one of them.")
    return Finding("secrets", True, text)


def _api(settings: Settings) -> Finding:
    if settings.jwt_secret is not None:
        text = "access tokens are checked by USHER_JWT_SECRET"
    elif settings.identity_url is not None:
        text = "access tokens are checked by asking Identity"
    else:
        text = "closed: neither USHER_JWT_SECRET nor USHER_IDENTITY_URL is set"
    return Finding("api", True, text)


def _database(app: App) -> str:
    database = app.store.database
    if migrations.pending(database):
        if database.is_sqlite:
            return "sqlite, will be brought to the newest revision at the next start"
        raise NotMigratedError("not at the newest revision")
    app.store.check()
    return f"{database.url.get_backend_name()}, at the newest revision"


def _spool(app: App) -> Finding:
    """Check that events could be kept while the database is away, and whether any are."""
    folder = app.settings.spool_folder
    try:
        Spool(folder).check()
    except UsherError as error:
        return Finding("spool", False, str(error), SPOOL_REMEDY)
    found = waiting(folder)
    if count := found["dead_letters"]:
        text = (
            f"could not apply {_events(count)} in {folder / DEAD_LETTERS}; the log line "
            "event.dead_letter says why"
        )
        return Finding("spool", False, text, DEAD_LETTERS_REMEDY)
    if count := found["waiting"]:
        return Finding("spool", True, f"{_events(count)} in {folder} still to be applied")
    text = f"{folder} can keep events while the database is away; none is waiting"
    return Finding("spool", True, text)


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count} events"


def _instance(app: App) -> Finding:
    """Check which Identity instance is in use, and whether events of others come."""
    with app.store.database.read() as connection:
        known, kept = app.store.instances.known(connection), adopted(connection)
        strangers = others(connection, known)
    try:
        found = known.one
    except SeveralInstancesError as error:
        return Finding("instance", False, str(error), INSTANCES_REMEDY)
    text = in_words(found, known.how, kept)
    since = app.clock() - timedelta(days=REFUSED_WITHIN_DAYS)
    recent = {one.newest: one for one in strangers if one.newest and one.newest >= since}
    for newest, each in sorted(recent.items(), reverse=True):
        text += f"; {_events(each.refused)} of {each.instance_id} refused, the last at "
        text += f"{moment(newest)} UTC"
    if recent:
        return Finding("instance", False, text, _of_others(recent[max(recent)]))
    return Finding("instance", True, text)


def _of_others(other: OnRecord) -> str:
    return (
        f"If {other.instance_id} is yours, set USHER_INSTANCE_ID to it. If not, take this server's "
        f"address out of that site's settings, or change the secret. See them: usher events list "
        f"--instance {other.instance_id}"
    )


def _clock(app: App) -> str:
    """Compare Identity's clock with ours, by the ledger's newest event.

    Raises:
        UsherError: they are over a minute apart.
    """
    newest = app.store.ledger.page(limit=1).items
    if not newest:
        return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC; no event yet to compare with"
    skew = newest[0].received_at.timestamp() - newest[0].issued_at
    if abs(skew) > 60:
        raise UsherError(f"the newest event came {skew:.0f} s after it was signed")
    return f"the newest event came {skew:.0f} s after it was signed"


def _failures(app: App) -> Finding:
    try:
        return failures_finding(app)
    except SeveralInstancesError as error:
        return Finding("failures", False, str(error), INSTANCES_REMEDY)


def _pushes(app: App) -> Finding:
    """Check for changes that Identity must still be told."""
    backlog = app.pushes.backlog()
    if backlog.since is None:
        return Finding("pushes", True, "Identity knows of every change made here")
    users = "1 user" if backlog.count == 1 else f"{backlog.count} users"
    text = f"pending for {users} since {moment(backlog.since)} UTC"
    if not backlog.error:
        return Finding("pushes", True, f"{text}; none failed yet")
    code = backlog.error.partition(":")[0]
    return Finding("pushes", False, f"{text}; the last error: {backlog.error}", push_remedy(code))


_DRIFT_REMEDY = (
    "See them: usher sync. Mend them: usher sync --both. Accounts that cannot be read are "
    "named there, with what to do at Identity."
)


def _drift(app: App) -> Finding:
    """Check when the records were last compared with Identity, and what differences it left."""
    try:
        last = app.sync.completed()
    except UsherError as error:
        return Finding("drift", False, str(error), INSTANCES_REMEDY)
    if last is None:
        return Finding("drift", True, "never compared with Identity; see: usher sync --help")
    left, days = sum(last.left.values()), (app.clock() - last.at).days
    text = f"compared with Identity at {moment(last.at)} UTC ({last.plan}), {left} differences left"
    if left:
        return Finding("drift", False, text, _DRIFT_REMEDY)
    if days >= MOST_DRIFT_DAYS:
        return Finding("drift", False, f"{text}; that is {days} days ago", "Run: usher sync")
    return Finding("drift", True, text)


def _try(name: str, look: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(name, True, look())
    except NotMigratedError as error:
        return Finding(name, False, str(error), "Run: usher db upgrade")
    except ExtraMissingError as error:
        return Finding(name, False, f"{error.what} not installed", f"Run: {error.command}")
    except DatabaseAwayError as error:  # in any check
        return Finding(name, False, str(error), DATABASE_REMEDY)
    except SeveralInstancesError as error:
        return Finding(name, False, str(error), INSTANCES_REMEDY)
    except UsherError as error:
        return Finding(name, False, str(error), remedy)


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "well": finding.well,
        "text": finding.text,
        "remedy": finding.remedy,
    }
