"""``usher outbox``: changes on their way to handlers and sinks."""

from __future__ import annotations

import click

from usher.cli.outbox_run import run


@click.group()
def outbox() -> None:
    """Hand changes over."""


outbox.add_command(run)
