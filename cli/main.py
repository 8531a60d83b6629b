"""The root command, and how its errors are shown.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 drift is left (docs/commands.md).
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Final

import click

from usher import __version__
from usher.core.errors import UsherError

COMMANDS: Final[Mapping[str, str]] = {
    "audit": "audit",
    "db": "db",
    "dev": "dev.command",
    "doctor": "checks.doctor",
    "events": "events",
    "init": "init",
    "policy": "policy",
    "replay": "replay",
    "secret": "secret",
    "serve": "serve",
    "sync": "sync",
    "token": "token",
    "trigger": "trigger",
    "users": "users",
}
"""The module of each command, below ``usher.cli``."""


class Commands(click.Group):
    """Loads a command when it is asked for: whoever wants one does not wait for all the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """In the order of the alphabet, as click lists them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of this name; none if there is no such."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"usher.cli.{COMMANDS[cmd_name]}"), cmd_name)
        return found


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="usher-identity")
def usher() -> None:
    """The back end for sites whose accounts live in Netlify Identity.

    Settings are read from the environment, then from a .env file, then from what `usher dev` made.
    """


def main() -> None:
    """Run ``usher``; an error of ours is a sentence, never a traceback."""
    sys.path.append("")  # a callable policy may stand in the working folder
    try:
        for argument in sys.argv[1:]:
            argument.encode()
        usher()
    except UnicodeEncodeError:
        click.secho("An argument is not valid text (UTF-8).", fg="red", err=True)
        sys.exit(2)
    except UsherError as error:
        from usher.cli.output import say  # noqa: PLC0415 - not every command makes tables

        say(str(error), fg="red", err=True)
        sys.exit(1)
    finally:
        # Else the interpreter walks all that is loaded, several times, to end: 0.3 s of computing.
        gc.freeze()
