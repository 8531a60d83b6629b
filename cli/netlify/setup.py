"""``usher netlify setup``: make an existing site one with Usher, or undo that."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from usher.cli.netlify import record
from usher.cli.netlify.proposal import Proposal, Wishes, propose
from usher.cli.netlify.rest import Rest
from usher.cli.netlify.site import SetupError, Site, find
from usher.cli.netlify.variables import NetlifyCli
from usher.cli.output import json_option, print_json, say


def _url(_: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    if not re.fullmatch(r"https://[a-z0-9.-]+(:\d+)?/?", value):
        raise click.BadParameter("It is https:// and a host, without a path.", param=parameter)
    return value.rstrip("/")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--host", callback=_url, help="Usher runs there, and not in Netlify's functions.")
@click.option("--bridge", is_flag=True, help="With --host: add the bridge to Identity.")
@click.option("--site", "address", callback=_url, help="The site's address, for what is printed.")
@click.option("--publish", help="The folder of the pages, where netlify.toml does not name it.")
@click.option("--command", help="The site's build command, where netlify.toml has none.")
@click.option("--run-env", is_flag=True, help="Set the variables by Netlify's command line.")
@click.option("--dry-run", is_flag=True, help="Show the changes, and write nothing.")
@click.option("--undo", is_flag=True, help="Take out what an earlier setup wrote.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def setup(
    folder: Path,
    host: str | None,
    bridge: bool,
    address: str | None,
    publish: str | None,
    command: str | None,
    run_env: bool,
    dry_run: bool,
    undo: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Set up the site in FOLDER (default: here) with Usher in its functions.

    Shows the changes of netlify.toml and the other files as a diff, and asks. With --host, Usher
    runs on a host of its own, and the site passes requests on to it.
    """
    if bridge and host is None:
        raise click.UsageError("--bridge is for a site with Usher on a host of its own: --host.")
    if host is not None and host == address:
        raise click.UsageError("--host is the site itself; it must be the host that Usher runs on.")
    if as_json and not (yes or dry_run):
        raise click.UsageError("With --json nobody can be asked: add --yes or --dry-run.")
    site = find(folder)
    if undo:
        proposal = Proposal(record.undo(site.base), [])
    else:
        _check_that_it_is_one(site, yes)
        proposal = propose(site, Wishes(host, bridge, publish, command))
    # Netlify's command line is looked for first, so that nothing is half done without it.
    netlify = NetlifyCli(site.base) if run_env and not (undo or dry_run) else None
    if not as_json:
        _show(proposal, undo)
    written = not dry_run and _write(site, proposal, ask=not yes, undo=undo)
    outcome = _outcome(site, proposal, written)
    if not undo:
        fresh = written or netlify is not None
        rest = Rest(
            address or (netlify.site if netlify else None), host, bridge, netlify, fresh=fresh
        )
        outcome |= rest.document()
        if not as_json:
            rest.tell()
    if as_json:
        print_json(outcome)
    if outcome.get("problems"):
        sys.exit(1)


def _check_that_it_is_one(site: Site, sure: bool) -> None:
    if not (site.is_one() or sure):
        raise SetupError(
            f"{site.base} has no netlify.toml, no package.json and no page. Go to the site's "
            "repository; or say --yes, and this folder is taken for one."
        )


def _show(proposal: Proposal, undo: bool) -> None:
    for change in proposal.changes:
        say(change.diff().replace("\r\n", "\n").expandtabs(4), nl=False)
    for remark in proposal.remarks:
        say(remark, fg="yellow")
    if not proposal.changes:
        click.echo("Nothing to undo: the files are as before." if undo else "Nothing to do.")


def _write(site: Site, proposal: Proposal, *, ask: bool, undo: bool) -> bool:
    if ask and proposal.changes:
        click.confirm("Write this?", abort=True)
    if proposal.changes or undo:
        record.apply(site.base, proposal.changes, remember=not undo)
    return bool(proposal.changes)


def _outcome(site: Site, proposal: Proposal, written: bool) -> dict[str, Any]:
    return {
        "folder": str(site.base),
        "changes": [{"file": each.name, "done": each.done} for each in proposal.changes],
        "diff": "".join(each.diff() for each in proposal.changes),
        "written": written,
        "remarks": proposal.remarks,
    }
