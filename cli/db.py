"""``usher db``."""

from __future__ import annotations

import click

from usher import migrations
from usher.cli.environment import installation
from usher.core.app import App, use
from usher.core.settings import Settings


@click.group()
def db() -> None:
    """The database's tables."""


@db.command()
def upgrade() -> None:
    """Bring the tables to the newest revision."""
    with use(App(Settings.from_env(installation()))) as app:
        database = app.store.database
        if migrations.pending(database):
            migrations.upgrade(database)
            click.echo("The database is now at the newest revision.")
        elif found := migrations.ahead(database):
            click.echo(
                f"The database is at revision {found}, which a newer version of Usher made. This "
                f"version knows {migrations.newest()}, and changed nothing."
            )
        else:
            click.echo("The database was at the newest revision already.")
