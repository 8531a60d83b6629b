"""The root command, and how its errors are shown.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 drift is left (docs/commands.md).
"""

from __future__ import annotations

import gc
import sys

import click

from cli.audit import audit
from cli.db import db
from cli.dev import dev
from cli.doctor import doctor
from cli.events import events
from cli.output import say
from cli.policy import policy
from cli.replay import replay
from cli.secret import secret
from cli.serve import serve
from cli.sync import sync
from cli.token import token
from cli.trigger import trigger
from cli.users import users
from core.errors import SettingsError, UsherError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="usher")
def usher() -> None:
    """The back end for sites whose accounts live in Netlify Identity.

    Settings are read from the environment, then from a .env file, then from what `usher dev` made.
    """


for command in (
    dev,
    serve,
    trigger,
    users,
    events,
    replay,
    sync,
    audit,
    token,
    policy,
    doctor,
    secret,
    db,
):
    usher.add_command(command)


def main() -> None:
    """Run ``usher``; an error of ours is a sentence, never a traceback."""
    sys.path.insert(0, "")  # a callable policy may stand in the working folder
    try:
        for argument in sys.argv[1:]:
            argument.encode()
        usher()
    except UnicodeEncodeError:
        click.secho("An argument is not valid text (UTF-8).", fg="red", err=True)
        sys.exit(2)
    except SettingsError as error:
        for problem in error.problems:
            say(problem, fg="red", err=True)
        sys.exit(1)
    except UsherError as error:
        say(str(error), fg="red", err=True)
        sys.exit(1)
    finally:
        # Else the interpreter walks all that is loaded, several times, to end: 0.3 s of computing.
        gc.freeze()
