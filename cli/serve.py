"""``usher serve``."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from typing import Final

import click

from usher.cli.environment import installation, opened
from usher.core.app import App, use
from usher.core.errors import DatabaseError, NotMigratedError
from usher.core.policy_source import warn_of_tests
from usher.core.settings import Settings

OBSERVING: Final = (
    "USHER_MODE is observe: every event is answered 204, nobody is refused and no role reaches "
    "Identity. See: usher policy observed"
)


def run_server(host: str, port: int, workers: int) -> None:
    """Check address, database and policy, then serve. Workers read settings from the environment.

    Raises:
        SettingsError, PolicyError
        NotMigratedError
        SpoolError: the database takes no events, and they could not be kept either.
    """
    from usher.server import serve as runner  # noqa: PLC0415 - other commands need no server

    check_address(host, port)
    begins_at: int | None = None
    try:
        with opened(installation()) as app:
            app.store.check()
            warn_of_tests(app.policy, app.clock())
            begins_at = app.newest_entry()  # before anything is answered
    except NotMigratedError:
        raise
    except DatabaseError as error:
        _check_without_database(error)
    os.environ.update(installation())
    settings = Settings.from_env(os.environ)
    if settings.observes:
        click.secho(OBSERVING, fg="yellow", bold=True, err=True)
    runner.serve(
        host,
        port,
        workers,
        folder=settings.spool_folder.absolute(),
        shadowed=bool(settings.policy_shadow),
        hands_over=bool(settings.handlers),
        begins_at=begins_at,
    )


def _check_without_database(away: DatabaseError) -> None:
    """Check policy and spool alone: a restarted server must take events without its database.

    Raises:
        PolicyError
        SpoolError: events could not be kept on disk either.
    """
    click.echo(str(away), err=True)
    with use(App(Settings.from_env(installation()))) as app:
        warn_of_tests(app.policy, app.clock())
        app.store_and_forward.check()
        click.echo(
            f"Starting all the same: events are kept in {app.settings.spool_folder} until the "
            "database can be used.",
            err=True,
        )


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", default=8888, show_default=True, type=click.IntRange(1, 65535), help="Port."
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes."
)
def serve(host: str, port: int, workers: int) -> None:
    """Run the server until stopped. Requests under way are finished first."""
    run_server(host, port, workers)


def check_address(host: str, port: int) -> None:
    """Check that the server can listen at this address.

    Raises:
        click.BadParameter: the host is not an IP address.
        click.ClickException: the port is taken, or not allowed.
    """
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        raise click.BadParameter(f"{host!r} is not an IP address", param_hint="--host") from None
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise click.ClickException(
                f"Cannot listen on {host} port {port}: {error.strerror}. Take another --port."
            ) from None
