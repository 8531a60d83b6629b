"""``usher db``."""

from __future__ import annotations

from dataclasses import asdict

import click

from usher import migrations
from usher.cli.environment import installation
from usher.cli.output import json_option, print_json
from usher.core.app import App, use
from usher.core.settings import Settings
from usher.core.store.database import Database


@click.group()
def db() -> None:
    """The database's tables."""


@db.command()
@click.option("--dry-run", is_flag=True, help="Only tell what would be done, and how long.")
@json_option
def upgrade(dry_run: bool, as_json: bool) -> None:
    """Bring the tables to the newest revision, while events keep coming.

    Standard error has a line for each thing that it does or waits for.
    """
    with use(App(Settings.from_env(installation()))) as app:
        database = app.store.database
        if dry_run:
            _tell_plan(database, as_json=as_json)
            return
        before = migrations.revision(database)
        told = bring_up(database)
        if as_json:
            print_json({"from": before, "to": migrations.revision(database)})
        else:
            click.echo(told)


def bring_up(database: Database) -> str:
    """Bring the tables to the newest revision; tell of it on standard error meanwhile.

    Returns:
        A sentence about what was done.

    Raises:
        DatabaseError: the database cannot be used; what was not done is done the next time.
    """
    plan = migrations.plan(database)
    if plan:
        seconds = sum(each.seconds for each in plan)
        click.echo(f"{len(plan)} migrations, about {seconds:.0f} s.", err=True)
        migrations.upgrade(database, report=lambda line: click.echo(line, err=True))
        return "The database is now at the newest revision."
    if found := migrations.ahead(database):
        return (
            f"The database is at revision {found}, which a newer version of Usher made. This "
            f"version knows {migrations.newest()}, and changed nothing."
        )
    return "The database was at the newest revision already."


def _tell_plan(database: Database, *, as_json: bool) -> None:
    plan = migrations.plan(database)
    if as_json:
        print_json([asdict(each) for each in plan])
        return
    for each in plan:
        rows = ", ".join(f"{count:,} rows of {name}" for name, count in each.rows.items())
        click.echo(f"{each.revision}  {each.summary}")
        if rows:
            click.echo(f"      {rows}: about {each.seconds:.0f} s")
    if not plan:
        click.echo("Nothing is to be done.")
