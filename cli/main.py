"""The root command: finds the others, and turns errors into sentences and exit codes.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 differences are left (docs/commands.md).
"""

from __future__ import annotations

import gc
import sys

import click

from usher import __version__
from usher.cli.lazy import LazyGroup
from usher.core.errors import UsherError

COMMANDS = {
    "audit": "audit",
    "codes": "codes",
    "db": "db",
    "dev": "dev.command",
    "doctor": "checks.doctor",
    "events": "events",
    "init": "init",
    "instance": "instance",
    "keys": "keys",
    "netlify": "netlify",
    "outbox": "outbox",
    "policy": "policy",
    "replay": "replay",
    "requests": "requests",
    "secret": "secret",
    "serve": "serve",
    "sinks": "sinks",
    "sync": "sync",
    "token": "token",
    "trigger": "trigger",
    "users": "users",
}


@click.group(
    cls=LazyGroup,
    package="usher.cli",
    modules=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="usher-identity")
def usher() -> None:
    """The back end for sites whose accounts live in Netlify Identity.

    Settings come from the environment, then from .env. As long as `usher dev` runs in this folder,
    its own database, secrets and Identity count, not those of .env.
    """


def main() -> None:
    """Run ``usher``. Errors of ours are printed as a sentence, never as a traceback."""
    sys.path.append("")  # a callable policy may be in the working folder
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
        # Otherwise the interpreter walks all loaded objects several times at exit: 0.3 s.
        gc.freeze()
