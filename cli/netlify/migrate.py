"""Migrations in a site's build on Netlify: of production alone, before its functions are live."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from usher.cli.db import bring_up
from usher.core.errors import DatabaseError, SettingsError
from usher.core.settings import Settings
from usher.core.store.database import Database
from usher.netlify.database import DATABASE_URL, NAMES, told_by

CONTEXT: Final = "CONTEXT"
"""Netlify's variable that names what a build is for."""
PRODUCTION: Final = "production"
_OTHERWISE: Final = "To build without migrating: usher netlify build --no-migrate"


def migrate(environment: Mapping[str, str], *, wanted: bool = True) -> str:
    """Bring the database up to date, if this build is for production.

    Deploy previews, branches and local builds never touch it: their version may be one that is
    never published.

    Args:
        environment: the variables of the build, with those of the settings.
        wanted: False for ``--no-migrate``.

    Returns:
        A sentence about what was done, or why nothing was.

    Raises:
        SettingsError: no PostgreSQL is named. The build must fail, or the functions would.
        DatabaseError: the database cannot be used from the build.
    """
    context = environment.get(CONTEXT, "")
    if context != PRODUCTION:
        whose = f"the build of {context!r}" if context else "no build of Netlify's"
        return (
            f"The database was not touched: this is {whose}, and {PRODUCTION!r} alone migrates it."
        )
    if not wanted:
        return "The database was not touched: --no-migrate. Run: usher db upgrade"
    database = Database(_url(environment))
    try:
        return bring_up(database)
    except DatabaseError as error:
        raise DatabaseError(
            "The database could not be brought up to date, so this build ends, and the site stays "
            f"as it was deployed last. {error.detail} If builds cannot reach the database, run "
            f"usher db upgrade from where it can be reached before each deploy. {_OTHERWISE}",
            error.words,
        ) from error
    finally:
        database.dispose()


def _url(environment: Mapping[str, str]) -> str:
    """The address of the database, as the functions will find it."""
    found = told_by(environment)
    if not found:
        raise _unusable(
            f"The build knows no database: none of {', '.join(NAMES)} is set. Set one with the "
            "scopes builds and functions."
        )
    settings = Settings.from_env({DATABASE_URL: found}, verifies=False)
    if settings.database_scheme == "sqlite":
        raise _unusable(
            f"{DATABASE_URL} is a SQLite file, and functions have no disk that stays. Name a "
            "PostgreSQL."
        )
    return settings.database_url


def _unusable(problem: str) -> SettingsError:
    return SettingsError((f"{problem} {_OTHERWISE}",))
