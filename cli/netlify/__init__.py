"""``usher netlify``: the commands of a site whose functions run on Netlify."""

from __future__ import annotations

import click

from usher.cli.lazy import LazyGroup

SUBCOMMANDS = {
    "build": "build",
    "dev": "dev.command",
    "setup": "setup",
}


@click.group(cls=LazyGroup, package=__name__, modules=SUBCOMMANDS)
def netlify() -> None:
    """Set up a site on Netlify, with Usher in its functions or on a host of its own."""
