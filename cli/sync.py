"""``usher sync``: compare records with Identity's accounts, and mend differences."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import click

from usher.cli.environment import log_for_command, opened
from usher.cli.output import collecting_less, json_option, print_json, print_table, say, working
from usher.core.app import App
from usher.core.domain.sync import Kind
from usher.core.domain.sync_plan import MOST_NAMED, Phase, Plan, Run, Trouble, Unreadable
from usher.core.errors import SyncRemovalsError

DRIFT = 3
"""The exit code where differences are left."""
NOT_READ = 4
"""The exit code where accounts at Identity could not be read; differences may be left as well."""
MOST_SHOWN = 20
MEANINGS = {
    "missing_here": "accounts at Identity without a record here",
    "missing_there": "records here without an account at Identity",
    "deleted_here": "accounts at Identity whose user was deleted here",
    "email": "other e-mail address at Identity",
    "metadata": "other metadata at Identity",
    "status": "confirmed at Identity, pending here",
    "roles_there": "roles changed at Identity",
    "roles_here": "roles of which Identity does not know",
    "suspended": "suspended here, and with roles at Identity",
    "keys": "further app_metadata that Identity does not have",
    "roles_unreadable": "accounts whose roles at Identity cannot all be read",
    "unreadable": "accounts at Identity that could not be read",
    "pending": "changes of which Identity could not be told yet",
}

REMEDIES = {
    Trouble.TOO_LARGE: "shorten its metadata at Identity, or delete it there",
    Trouble.FORM: "mend it at Identity, or delete it there",
    Trouble.NO_ANSWER: "see Identity's log; or delete it there",
    Trouble.ROLES: "make roles a list of role names at Identity",
}


@click.command()
@click.option("--pull", is_flag=True, help="Mend records here by the accounts at Identity.")
@click.option("--push", is_flag=True, help="Mend accounts at Identity by the records here.")
@click.option("--both", is_flag=True, help="Mend both sides: --pull --push.")
@click.option("--prune", is_flag=True, help="Carry deletions over to the mended side.")
@click.option("--force", is_flag=True, help="Continue even if over 5 % go, or nobody is in common.")
@click.option("--restart", is_flag=True, help="Start over, even if a run was interrupted.")
@json_option
def sync(
    pull: bool, push: bool, both: bool, prune: bool, force: bool, restart: bool, as_json: bool
) -> None:
    """Compare every account at Identity with every record here, and mend differences.

    Without --pull, --push or --both, differences are only reported. The same command continues an
    interrupted run within a day. Exits with 0 when no differences are left, with 3 when some are,
    with 4 when accounts at Identity could not be read, and with 1 when it failed, was interrupted
    or refused to remove so many.
    """
    plan = Plan(pull or both, push or both, prune)
    if prune and not (plan.pull or plan.push):
        raise click.UsageError("--prune needs --pull, --push or --both.")
    with opened() as app:
        log_for_command(logging.ERROR)  # the table tells all; no line for each push
        run = _run(app, plan, force=force, restart=restart)
    left = run.progress.left
    if as_json:
        print_json(_document(run, plan))
    else:
        _tell(run)
    if run.progress.refused:
        raise SyncRemovalsError(run.progress.refused)
    raise SystemExit(NOT_READ if run.progress.unreadable else DRIFT if left else 0)


def _run(app: App, plan: Plan, *, force: bool, restart: bool) -> Run:
    steps = app.sync.run(plan, force=force, restart=restart)
    done = ""
    try:
        with closing(steps), collecting_less(), working("Comparing") as bar:
            run = next(steps)
            while run.progress.phase is not Phase.DONE:
                run = next(steps)
                done = f" after {run.progress.accounts} accounts"
                bar.reach(run.progress.accounts + run.progress.records, _whole(run))
            next(steps, None)
            return run
    except KeyboardInterrupt:
        say(f"Interrupted{done}. Give the same command again to go on from there.", err=True)
        raise SystemExit(1) from None


def _whole(run: Run) -> int:
    """Estimate accounts and records together; records are assumed to be as many as accounts."""
    return 2 * max(run.progress.total, run.progress.accounts)


def _tell(run: Run) -> None:
    progress = run.progress
    again = f" (gone on with; begun at {run.started_at:%H:%M:%S} UTC)" if run.resumed else ""
    say(f"Compared {progress.accounts} accounts with {progress.records} records{again}.")
    rows = [
        (count, progress.mended.get(kind, 0), kind, MEANINGS[kind])
        for kind, count in progress.found.items()
        if count
    ]
    print_table(("found", "mended", "kind", "what"), rows, "Nothing differs.")
    found = progress.found
    said = "Could not be read, and stay as they are on both sides:"
    _name(said, progress.unreadable, found.get(Kind.UNREADABLE, 0))
    said = "Have roles at Identity that cannot be read, and stay there as they are:"
    _name(said, progress.odd_roles, found.get(Kind.ROLES_UNREADABLE, 0))


def _name(said: str, accounts: Sequence[Unreadable], count: int) -> None:
    """Name accounts at Identity, with what is wrong and what to do."""
    if not accounts:
        return
    say("")
    say(said)
    rows = [
        (each.id or f"number {each.number} by age", each.why, REMEDIES[each.trouble])
        for each in accounts[:MOST_SHOWN]
    ]
    print_table(("account", "what is wrong", "what to do"), rows, "")
    if count > len(rows):
        say(f"And {count - len(rows)} more; --json names {MOST_NAMED} at most.")


def _named(accounts: Sequence[Unreadable]) -> list[dict[str, Any]]:
    return [
        {
            "id": each.id or None,
            "number": each.number or None,
            "trouble": each.trouble.value,
            "why": each.why,
            "remedy": REMEDIES[each.trouble],
        }
        for each in accounts
    ]


def _document(run: Run, plan: Plan) -> dict[str, Any]:
    progress = run.progress
    return {
        "plan": plan.name,
        "resumed": run.resumed,
        "accounts": progress.accounts,
        "records": progress.records,
        "found": {kind: count for kind, count in progress.found.items() if count},
        "mended": {kind: count for kind, count in progress.mended.items() if count},
        "left": progress.left,
        "refused": progress.refused or None,
        "unreadable": _named(progress.unreadable),
        "roles_unreadable": _named(progress.odd_roles),
    }
