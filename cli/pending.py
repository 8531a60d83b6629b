"""``usher users prune-pending``: remove pending records that never became an account."""

from __future__ import annotations

import click

from usher.cli.environment import actor, opened
from usher.cli.output import json_option, moment, print_json, print_table, say, working
from usher.core.app import App
from usher.core.domain.documents import utc
from usher.core.domain.records import User

NOBODY = "No pending record is to be removed."


@click.command("prune-pending")
@click.option("--dry-run", is_flag=True, help="Only show who would be removed, and why.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
def prune_pending(dry_run: bool, yes: bool, as_json: bool) -> None:
    """Remove pending records that never became an account, for good, in small steps.

    The server does so by itself. Records go after USHER_PENDING_DAYS; with credentials for
    Identity's admin API, as soon as Identity has no such account and the record is a day old.
    """
    with opened() as app:
        if not (dry_run or yes):
            say("This removes pending records that never became an account, for good.", err=True)
            click.confirm("Go on?", abort=True, err=True)
        looked_at, removed = _walk(app, dry_run=dry_run)
    if as_json:
        found = [
            {"id": str(user.id), "created_at": utc(user.created_at), "reason": reason}
            for user, reason in removed
        ]
        print_json({"dry_run": dry_run, "looked_at": looked_at, "removed": found})
        return
    if dry_run or not removed:
        rows = ((user.id, moment(user.created_at), reason) for user, reason in removed)
        print_table(("id", "created (UTC)", "would be removed"), rows, NOBODY)
        return
    say(f"{len(removed)} pending record{'s' * (len(removed) != 1)} removed.")


def _walk(app: App, *, dry_run: bool) -> tuple[int, list[tuple[User, str]]]:
    looked_at = 0
    removed: list[tuple[User, str]] = []
    with working("Looking") as bar:
        for page in app.unconfirmed.walk(actor(), dry_run=dry_run):
            looked_at += page.looked_at
            removed += page.removed
            bar.add(page.looked_at)
    return looked_at, removed
