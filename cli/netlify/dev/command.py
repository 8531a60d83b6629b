"""``usher netlify dev``: the site under Netlify's command line, with a local Identity."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from usher.cli.dev.folder import held, told
from usher.cli.dev.supervise import stopped_like_ctrl_c
from usher.cli.environment import (
    ENV,
    OF_ONE_INSTALLATION,
    installation,
    log_for_command,
    settings_in,
)
from usher.cli.netlify.site import SetupError, find
from usher.cli.serve import check_address
from usher.core.errors import UsherError
from usher.core.settings import PREFIX

if TYPE_CHECKING:
    from usher.cli.netlify.dev.front import Front
    from usher.cli.netlify.dev.local import Day

HOST: Final = "127.0.0.1"
ENV_FILES: Final = (".env.development.local", ".env.local", ".env.development", str(ENV))
"""Those that Netlify's command line gives to the functions."""
NEVER_BLANK: Final = frozenset(PREFIX + name for name in ("BRIDGE_SECRET", "KEY", "PROXY_SECRET"))
"""Of one installation, and a mistake where they are empty."""


@click.command()
@click.option(
    "--port", default=8888, show_default=True, type=click.IntRange(1, 65535), help="Port."
)
@click.option("--database", metavar="URL", help="The PostgreSQL to use, and to bring up to date.")
@click.option(
    "--autoconfirm", is_flag=True, help="Confirm accounts at the local Identity without a mail."
)
def dev(port: int, database: str | None, autoconfirm: bool) -> None:
    """Run the site in this folder as on Netlify, with Usher in its functions.

    Netlify's own command line serves the site and runs the functions, offline. A local Identity
    answers at /.netlify/identity, and its events go to the functions. It needs Node.js, Netlify's
    command line and a PostgreSQL.
    """
    from usher.cli.netlify.dev.bundle import brought_up  # noqa: PLC0415 - for this command alone
    from usher.cli.netlify.dev.database import choose, name  # noqa: PLC0415
    from usher.cli.netlify.dev.front import front, netlify_cli  # noqa: PLC0415
    from usher.cli.netlify.dev.local import Day, local  # noqa: PLC0415

    log_for_command()
    site, folder = find(Path()), Path.cwd()
    if not site.text:
        raise SetupError(f"{site.configuration} is missing. First run: usher netlify setup")
    os.chdir(site.base)
    program = netlify_cli(site.base)
    _refuse_real_secrets(folder, site.base)
    check_address(HOST, port)
    day = Day.begin(f"http://{HOST}:{port}", choose(database))
    try:
        with stopped_like_ctrl_c() as stop, ExitStack() as stack:
            stack.enter_context(held(day.site))
            click.echo(f"Database: {name(day.database_url)}")
            _bring_up_database(day.database_url)
            brought_up(site.base, installation())
            stop.heed()
            stack.enter_context(told(day.variables))
            ports = {"site": port, "console": _free(port + 1), "cli": _free()}
            ports["local"] = stack.enter_context(local(day, autoconfirm=autoconfirm))
            click.echo("Starting Netlify's command line …")
            running = stack.enter_context(front(program, folder, _environment(day), ports))
            status = running.wait()
            stop.heed()
            if status is None and running.runs:
                raise click.ClickException("Netlify's command line does not answer; see above.")
            if status is not None:
                click.echo(_guide(day, ports["console"], status))
                for _ in _watched(site.base, running):
                    stop.heed()
            raise click.ClickException("Netlify's command line has ended, and with it all else.")
    except KeyboardInterrupt:
        click.echo("Stopped.")


def _refuse_real_secrets(*folders: Path) -> None:
    for path in (folder / name for folder in folders for name in ENV_FILES):
        found = sorted(NEVER_BLANK & settings_in(path).keys())
        if found:
            raise SetupError(
                f"{path.name} sets {', '.join(found)}, of another installation, and Netlify's "
                "command line would give it to the functions. Put it into a file that is read for "
                "that installation alone."
            )


def _bring_up_database(url: str) -> None:
    from usher import migrations  # noqa: PLC0415 - commands that fail earlier need no database
    from usher.cli.db import bring_up  # noqa: PLC0415
    from usher.cli.netlify.dev.local import forget_accounts  # noqa: PLC0415
    from usher.core.database_url import database_url  # noqa: PLC0415
    from usher.core.store.database import Database  # noqa: PLC0415

    database = Database(database_url(url))
    try:
        if migrations.revision(database) is None:
            forget_accounts()  # those of another database: nobody here would know them
        click.echo(bring_up(database))
    finally:
        database.dispose()


def _environment(day: Day) -> dict[str, str]:
    """Return ours with the day's settings; they win over the files that the program reads."""
    blank = dict.fromkeys(OF_ONE_INSTALLATION - NEVER_BLANK, "")
    kept = {name: value for name, value in os.environ.items() if name not in NEVER_BLANK}
    return kept | blank | day.variables


def _watched(site: Path, running: Front) -> Iterator[None]:
    """Yield now and then while everything runs; the functions are built again meanwhile."""
    from usher.cli.dev.watch import Watched  # noqa: PLC0415

    while True:
        for paths in Watched().changes():
            yield
            if not running.runs:
                return
            if paths:
                _build_again(site, paths)
                break  # the files that count may be others now


def _build_again(site: Path, changed: list[Path]) -> None:
    from usher.cli.dev.watch import in_words  # noqa: PLC0415
    from usher.cli.netlify.dev.bundle import brought_up  # noqa: PLC0415

    try:
        why = f"{in_words(changed)} changed: the functions are built again."
        brought_up(site, installation(), why)
    except UsherError as error:
        click.secho(f"{error}\nThe functions are as before.", fg="red")


def _free(wanted: int = 0) -> int:
    """Return a port that is free: this one, or any."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except (OSError, OverflowError):
                continue
            found: int = probe.getsockname()[1]
            return found
    raise click.ClickException("This machine has no free port.")


def _guide(day: Day, console: int, status: int) -> str:
    from usher.cli.dev.guide import program, rules  # noqa: PLC0415

    usher = program()
    mails, desk = f"{day.site}/_dev/mail", f"http://{HOST}:{console}/"
    lines = [
        "",
        "Open",
        f"  {day.site + '/':<{len(mails)}}  The site. Identity is at /.netlify/identity.",
        f"  {mails}  The inbox. Click the link in the mail.",
        f"  {desk:<{len(mails)}}  The console, for administrators.",
        *rules(usher),
        "",
        f"Where the Identity widget asks for the URL of your Netlify site, it is {day.site}",
        "Each request to a function starts Python anew here: that takes half a second or more.",
        "On Netlify, most requests find it running.",
        f"Commands in this folder, such as `{usher} users list`, are about this run.",
        "Ctrl-C ends it.",
    ]
    if status != 200:
        lines.append(
            f"/api/health is answered {status}, and should be 200: `usher netlify setup` adds the "
            "redirect from /api/*; what the functions say is above."
        )
    return "\n".join(lines) + "\n"
