"""``usher dev``: a development server with a local Identity, restarted when a file changes."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import Final

import click

from usher.cli.dev.folder import forget, held, make_state, told
from usher.cli.dev.guide import guide
from usher.cli.environment import OF_ONE_INSTALLATION, dev_environment, set_aside
from usher.cli.secret import new_secret
from usher.cli.serve import check_address
from usher.core.database_url import SQLITE, connect_arguments, database_url
from usher.core.settings import PREFIX

HOST: Final = "127.0.0.1"


@click.command()
@click.option(
    "--port", default=8888, show_default=True, type=click.IntRange(1, 65535), help="Port."
)
@click.option("--fresh", is_flag=True, help="Forget users, events and secrets; start over.")
@click.option(
    "--autoconfirm", is_flag=True, help="Confirm accounts at the local Identity without a mail."
)
@click.option("--invite-only", is_flag=True, help="Refuse signups at the local Identity.")
@click.option(
    "--seed",
    type=click.IntRange(1, 5000),
    metavar="N",
    help="Sign up N people, once each, at the local Identity.",
)
def dev(port: int, fresh: bool, autoconfirm: bool, invite_only: bool, seed: int | None) -> None:
    """Run Usher on this machine, with a local Identity.

    Secrets and databases are its own, in .usher/; those that .env names are left alone. The server
    restarts when the code, the console, the policy or .env changes. If the environment sets
    USHER_IDENTITY_URL, that Identity is used, not a local one.
    """
    from usher.cli.dev.local_identity import Asked  # noqa: PLC0415
    from usher.cli.dev.seed import seeded  # noqa: PLC0415
    from usher.cli.dev.supervise import supervise  # noqa: PLC0415 - other commands need no server

    if seed and invite_only:
        raise click.UsageError("--seed signs people up, which --invite-only forbids.")
    url = f"http://{HOST}:{port}"
    with held(url):
        if fresh:
            forget()
        make_state()
        local = not os.environ.get(PREFIX + "IDENTITY_URL", "").strip()
        if seed and not local:
            raise click.UsageError(
                f"--seed signs people up at the local Identity, but {PREFIX}IDENTITY_URL names"
                " another. Take that setting away, or leave out --seed."
            )
        check_address(HOST, port)
        _tell_whose()
        asked = Asked(
            port=port,
            local=local,
            autoconfirm=autoconfirm,
            invite_only=invite_only,
            jwt_secret=new_secret(),
            operator_token=new_secret(),
        )

        def first() -> None:
            click.echo(f"\nUsher listens at {url}  (Ctrl-C stops it)\n")
            people = seeded(url, asked.operator_token, seed) if seed else None
            click.echo(guide(port, local=local, people=people))

        known = {PREFIX + "IDENTITY_URL": asked.identity_url}
        with told(known) if local else nullcontext():
            supervise(url, asked.to_json(), first)


def _tell_whose() -> None:
    """Say which database is used, what of ``.env`` is set aside, and what is real nevertheless."""
    click.echo(f"Database: {_database(dev_environment().get(PREFIX + 'DATABASE_URL', ''))}")
    if names := set_aside():
        click.echo(f"Set aside, for the installation of .env has it: {', '.join(names)}")
    if real := sorted(name for name in OF_ONE_INSTALLATION if os.environ.get(name, "").strip()):
        click.secho(
            f"Your environment sets {', '.join(real)}, which counts here, too: what you try reaches"
            " what that names. Unset it unless you mean that.",
            fg="yellow",
        )


def _database(url: str) -> str:
    """Name a database without its password; none is given where a file holds the address."""
    if url.startswith(SQLITE):
        return url.removeprefix(SQLITE)
    try:
        found = connect_arguments(database_url(url))
    except ValueError:
        return f"the one in {PREFIX}DATABASE_URL"
    where = found.get("host", "this machine").replace(",", " or ")
    return f"{found.get('dbname', '')} of postgresql at {where}"
