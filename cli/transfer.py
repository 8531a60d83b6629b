"""``usher events export``, ``import`` and ``prune``."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta

import click

from usher.cli.capture_files import opened_file, reader_of
from usher.cli.environment import opened
from usher.cli.moments import PAST
from usher.cli.output import json_option, print_json, say, working
from usher.core.captures.format import (
    Capture,
    from_delivery,
    require_fit,
    to_delivery,
    write_act,
    write_line,
)
from usher.core.captures.redact import Redactor
from usher.core.domain.events import EventName
from usher.core.domain.records import AuditEntry, Delivery, Outcome
from usher.core.errors import CaptureError
from usher.core.store.filters import DeliveryFilters
from usher.core.store.history import History

BATCH = 500
since_option = click.option(
    "--since", type=PAST, help="Only events received at or after this time."
)
until_option = click.option("--until", type=PAST, help="Only events received before this time.")


@click.command("export")
@since_option
@until_option
@click.option("--event", type=click.Choice([name.value for name in EventName]))
@click.option("--user", help="Only events of this user, by id or e-mail address.")
@click.option("--outcome", type=click.Choice([outcome.value for outcome in Outcome]))
@click.option("--redact", is_flag=True, help="Replace personal data with pseudonyms.")
@click.option("--map-domains", is_flag=True, help="With --redact: replace domains, too.")
@click.option("--with-audit", is_flag=True, help="Include changes by people.")
def export(
    since: datetime | None,
    until: datetime | None,
    event: str | None,
    user: str | None,
    outcome: str | None,
    redact: bool,
    map_domains: bool,
    with_audit: bool,
) -> None:
    """Print the ledger as captures, one JSON object per line, in the order of arrival."""
    if map_domains and not redact:
        raise click.UsageError("--map-domains needs --redact.")
    redactor = Redactor(secrets.token_bytes(32), map_domains) if redact else None
    with opened() as app:
        filters = DeliveryFilters(
            event=event or "",
            outcome=outcome or "",
            user_id=app.store.users.find(user).id if user else None,
            since=since,
            until=until,
        )
        history = History(app.store.database, app.store.instance())
        for step in history.merged(filters, with_acts=with_audit):
            if isinstance(step, AuditEntry):
                if filters.user_id in (None, step.user_id):
                    click.echo(write_act(redactor.act(step) if redactor else step))
                continue
            click.echo(_line(step, redactor))


def _line(delivery: Delivery, redactor: Redactor | None) -> str:
    capture = from_delivery(delivery)
    return write_line(redactor.capture(capture) if redactor else capture)


@click.command("import")
@click.argument("file", default="-")
@click.option("--keep-going", is_flag=True, help="Report wrong lines and continue.")
@json_option
def import_(file: str, keep_going: bool, as_json: bool) -> None:
    """Import captures from FILE or standard input into the ledger. Users are not changed."""
    taken = known = 0
    with opened() as app, ExitStack() as stack:
        reader = reader_of(stack.enter_context(opened_file(file)), keep_going=keep_going)
        bar = stack.enter_context(working("Importing", reader.size))
        batch: list[Delivery] = []

        def flush() -> None:
            nonlocal taken, known
            new = app.store.ledger.add(batch)
            taken, known = taken + new, known + len(batch) - new
            batch.clear()

        try:
            for number, step in reader.steps():
                if isinstance(step, Capture):
                    batch.append(_delivery(step, number))
                bar.add(1, reader.bytes_read)
                if len(batch) >= BATCH:
                    flush()
        finally:
            flush()
    if as_json:
        print_json({"imported": taken, "known": known, "wrong": reader.wrong})
    else:
        say(f"{taken} imported, {known} known already, {reader.wrong} wrong.")
    if reader.wrong:
        raise SystemExit(1)


def _delivery(capture: Capture, number: int) -> Delivery:
    try:
        delivery = to_delivery(capture)
        require_fit(delivery)
    except CaptureError as error:
        raise CaptureError(error.problem, number) from None
    return delivery


@click.command()
@click.option("--before", type=PAST, help="Default: older than USHER_LEDGER_RETENTION_DAYS.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def prune(before: datetime | None, yes: bool, as_json: bool) -> None:
    """Remove old events for good, in small steps that hold nobody up."""
    with opened() as app:
        days = app.settings.ledger_retention_days
        horizon = before or app.clock() - timedelta(days=days)
        if not yes:
            say(f"This removes what was received before {horizon:%Y-%m-%d %H:%M} UTC.", err=True)
            click.confirm("Go on?", abort=True, err=True)
        removed = _prune(app.store.ledger.prune, horizon)
    if as_json:
        print_json({"removed": removed, "before": horizon.isoformat()})
    else:
        say(f"{removed} deliveries removed.")


def _prune(step: Callable[[datetime], int], horizon: datetime) -> int:
    removed = 0
    with working("Removing") as bar:
        while gone := step(horizon):
            removed += gone
            bar.add(gone)
    return removed
