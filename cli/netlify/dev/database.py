"""The database of ``usher netlify dev``: a PostgreSQL that the functions reach, too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

import click

from usher.cli.environment import ENV, settings_in
from usher.core.database_url import PG8000, SPELLINGS, SQLITE, connect_arguments, database_url
from usher.core.settings import PREFIX
from usher.functions._shared.loopback import is_loopback_host

NAME: Final = PREFIX + "DATABASE_URL"
HOW: Final = """\
  docker run -d -p 127.0.0.1:5432:5432 -e POSTGRES_HOST_AUTH_METHOD=trust postgres:17
  usher netlify dev --database postgresql://postgres@127.0.0.1:5432/postgres
In .env, as USHER_DATABASE_URL, it need not be named again."""


def choose(named: str | None) -> str:
    """Return the address of the database, as the functions shall have it.

    One that is not named by the option counts only where it is on this machine: it may be the one
    of the real site.

    Args:
        named: the option.

    Raises:
        click.ClickException: there is none, or one that functions cannot use.
        SettingsError: ``.env`` cannot be read.
    """
    found = named or os.environ.get(NAME, "").strip() or settings_in(ENV).get(NAME, "").strip()
    if not found:
        raise click.ClickException(f"The functions need a PostgreSQL, and none is named.\n{HOW}")
    if found.lower().startswith(SQLITE):
        raise click.ClickException(
            "A file of SQLite cannot be the database: each function runs apart, on Netlify on a "
            f"machine of its own, and sees no file of this one. Name a PostgreSQL.\n{HOW}"
        )
    try:
        plain = _without_driver(found)
        arguments = connect_arguments(database_url(PG8000 + plain.removeprefix(SPELLINGS[0])))
    except ValueError as error:
        raise click.ClickException(f"The address of the database {error}.") from None
    if not named and not is_here(arguments):
        raise click.ClickException(
            f"{NAME} is not on this machine, so it may be the real site's, and was left alone. "
            f"Name one to try things with by --database; or that one, if you mean it.\n{HOW}"
        )
    if is_here(arguments) and "sslmode" not in arguments:
        # Nothing leaves this machine, so TLS is not needed; few databases there have it.
        plain += ("&" if "?" in plain else "?") + "sslmode=disable"
    return plain


def is_here(arguments: Mapping[str, str]) -> bool:
    """Whether all of its hosts are this machine."""
    hosts = (arguments.get("hostaddr") or arguments.get("host", "")).split(",")
    return all(
        host.startswith("/") or is_loopback_host(f"[{host}]" if ":" in host else host)
        for host in hosts
    )


def name(url: str) -> str:
    """Name a database without its password."""
    arguments = connect_arguments(database_url(url))
    where = arguments.get("host") or arguments["hostaddr"]
    return f"{arguments.get('dbname', arguments['user'])} of postgresql at {where}"


def _without_driver(url: str) -> str:
    """Return the address as libpq spells it; commands and functions have different drivers."""
    scheme, _, rest = database_url(url).partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"
