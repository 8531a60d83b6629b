"""``usher netlify``: the commands of a site whose functions run on Netlify."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

SUBCOMMANDS: Final[Mapping[str, str]] = {
    "build": "build",
    "dev": "dev.command",
    "setup": "setup",
}
"""The module of each subcommand, below ``usher.cli.netlify``."""


class Subcommands(click.Group):
    """Loads only the subcommand that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in alphabetical order."""
        return sorted(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the subcommand of this name, or None."""
        if cmd_name not in SUBCOMMANDS:
            return None
        module = import_module(f"usher.cli.netlify.{SUBCOMMANDS[cmd_name]}")
        found: click.Command = getattr(module, cmd_name)
        return found


@click.group(cls=Subcommands)
def netlify() -> None:
    """Set up a site on Netlify, with Usher in its functions or on a host of its own."""
