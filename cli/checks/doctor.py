"""``usher doctor``: check everything that Usher needs, and name a remedy for each fault."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from usher.cli.checks.approvals import approvals_findings
from usher.cli.checks.configuration import configuration_findings, setting_problems
from usher.cli.checks.database import database_findings, failed
from usher.cli.checks.deployed import deployed_findings
from usher.cli.checks.drift import drift_findings
from usher.cli.checks.events import (
    clock_finding,
    code_findings,
    signature_findings,
    size_findings,
)
from usher.cli.checks.failures import failures_finding
from usher.cli.checks.findings import Finding, Severity
from usher.cli.checks.functions import function_findings
from usher.cli.checks.handlers import handlers_findings
from usher.cli.checks.identity import clocks_agree, identity_findings
from usher.cli.checks.instance import SEVERAL, instance_findings
from usher.cli.checks.outbox import outbox_findings
from usher.cli.checks.policy import policy_findings
from usher.cli.checks.pushes import push_findings
from usher.cli.checks.shadow import shadow_findings
from usher.cli.checks.site import site_findings
from usher.cli.checks.spool import spool_findings
from usher.cli.environment import installation
from usher.cli.output import json_option, print_json, say
from usher.core.app import App, use
from usher.core.errors import DatabaseError, SettingsError
from usher.core.settings import Settings

MARKS = {
    Severity.OK: ("ok  ", "green"),
    Severity.WARNING: ("note", "yellow"),
    Severity.ERROR: ("BAD ", "red"),
}
WIDTH = 10
_ADDRESS = re.compile(
    r"(https://[a-z0-9.-]+|http://(localhost|127\.0\.0\.1))(:\d+)?/?"  # HTTP: this machine alone
)
INDENT = " " * (len("ok  ") + WIDTH + 1)


def _site(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _ADDRESS.fullmatch(value):
        raise click.BadParameter("It is https:// and a host, without a path.", param=parameter)
    return value and value.rstrip("/")


@click.command()
@click.option(
    "--netlify", "site", metavar="URL", callback=_site, help="Look at this deployed site instead."
)
@json_option
def doctor(site: str | None, as_json: bool) -> None:
    """Check settings, secrets, database, policy, spool, clock, Identity, and the site on Netlify.

    With --netlify it looks from outside at a deployed site with Usher in its functions, and at
    nothing here. Nothing is stored there.

    Exits with 1 when something is wrong, and with 0 where there are notes alone. Each finding has
    its possible causes, the likeliest first, and the advice for each.
    """
    findings = examine() if site is None else deployed_findings(site)
    if as_json:
        print_json([finding.document() for finding in findings])
    else:
        _tell(findings)
    sys.exit(int(any(finding.severity is Severity.ERROR for finding in findings)))


def _tell(findings: Sequence[Finding]) -> None:
    """Print all that is well, a line each; then the others, each with its advice."""
    for place, finding in enumerate(sorted(findings, key=lambda each: not each.well)):
        mark, colour = MARKS[finding.severity]
        if place and not finding.well:
            click.echo()
        click.secho(mark, fg=colour, nl=False)
        say(f"{finding.name:<{WIDTH}} {finding.text}")
        several = len(finding.advice) > 1
        for number, advice in enumerate(finding.advice, 1):
            say(f"{INDENT}{f'{number}. ' if several else ''}{advice}")


def examine() -> list[Finding]:
    """Return all findings. Without usable settings, there are findings on settings only."""
    variables: Mapping[str, str] = {}
    try:
        variables = installation()
        settings = Settings.from_env(variables)
    except SettingsError as error:
        return setting_problems(error, variables)
    with use(App(settings)) as app:
        database = database_findings(app)
        identity = identity_findings(app)
        handlers = handlers_findings(settings)
        return [
            *configuration_findings(settings, variables),
            *database,
            *policy_findings(app),
            *handlers,
            *spool_findings(app),
            *(_records(app, identity, handlers) if "pooled" in database[0].facts else []),
            *identity,
            *site_findings(settings),
            *function_findings(Path.cwd()),
        ]


def _records(app: App, identity: list[Finding], handlers: list[Finding]) -> list[Finding]:
    """Return the findings that the database tells of."""
    try:
        instance = instance_findings(app)
        if instance[0].key == SEVERAL.key:
            return instance
        return [
            *instance,
            clock_finding(app, agrees=clocks_agree(identity)),
            failures_finding(app),
            *size_findings(app),
            *signature_findings(app),
            *approvals_findings(app),
            *code_findings(app),
            *push_findings(app),
            *shadow_findings(app),
            *drift_findings(app),
            *outbox_findings(app, _names(handlers)),
        ]
    except DatabaseError as error:  # it went away just now
        return [failed(app, error)]


def _names(handlers: list[Finding]) -> list[str] | None:
    """The names of the handlers; None where their modules cannot be read."""
    if not all(each.well for each in handlers):
        return None
    return [name for each in handlers for name in each.facts["names"]]
