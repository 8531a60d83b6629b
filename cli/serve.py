"""``usher serve``."""

from __future__ import annotations

import os
import sys

import click

from cli.environment import environment, opened
from core.log import configure


def run_server(host: str, port: int, workers: int) -> None:
    """Check everything once, then serve; workers get the settings by their environment."""
    from runtime.serve import serve as start  # noqa: PLC0415 - other commands need no server

    configure()
    with opened() as app:
        app.store.database.check()
        _ = app.policy
    os.environ.update(environment())
    sys.path.insert(0, "")
    start(host, port, workers)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8888, show_default=True, type=click.IntRange(1, 65535))
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64))
def serve(host: str, port: int, workers: int) -> None:
    """Serve the functions until stopped; requests under way are finished."""
    run_server(host, port, workers)
