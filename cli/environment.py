"""The settings of commands, and the App they work with.

``usher dev`` has secrets, a database and an Identity of its own. A real installation has others, in
``.env`` or in the environment. ``OF_ONE_INSTALLATION`` names the settings in which they differ.
"""

from __future__ import annotations

import getpass
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from dotenv import dotenv_values

from usher import migrations
from usher.core import log
from usher.core.app import App, use
from usher.core.errors import SettingsError
from usher.core.secret_files import SUFFIX, other_name
from usher.core.settings import FROM_FILES, PREFIX, Settings

ENV: Final = Path(".env")
DEV_FOLDER: Final = Path(".usher")
DEV_ENV: Final = DEV_FOLDER / "dev.env"
DEV_LOCK: Final = DEV_FOLDER / "dev.lock"
"""Locked as long as ``usher dev`` runs."""
DEV_IDENTITY: Final = DEV_FOLDER / "identity.env"
"""Holds what is of this one run, such as the local Identity's address, while ``usher dev`` runs."""
_VALUES: Final = frozenset(
    PREFIX + name
    for name in (
        "BRIDGE_SECRET",
        "BRIDGE_URL",
        "DATABASE_URL",
        "IDENTITY_ADMIN_TOKEN",
        "IDENTITY_URL",
        "INSTANCE_ID",
        "JWT_AUDIENCE",
        "JWT_SECRET",
        "KEY",
        "MODE",
        "PROXY_SECRET",
        "SPOOL",
        "TRUST_PLATFORM",
        "URL",
        "USE_PLATFORM_TOKEN",
        "WEBHOOK_SECRETS",
    )
)
OF_ONE_INSTALLATION: Final = _VALUES | {name + SUFFIX for name in _VALUES & FROM_FILES}
"""Settings of one database and one Identity. All others are rules and limits."""


def environment() -> dict[str, str]:
    """Return the variables of all settings, for a command that works with users or events.

    They are those of ``usher dev`` as long as it runs in this folder.

    Raises:
        SettingsError: a file is not UTF-8 text, or cannot be read.
    """
    return dev_environment() if dev_runs() else installation()


def installation() -> dict[str, str]:
    """Return the variables of the installation. The process environment wins over ``.env``.

    The file of ``usher dev`` counts only where neither names any of ``OF_ONE_INSTALLATION``, so
    that the two never mix.

    Raises:
        SettingsError: a file is not UTF-8 text, or cannot be read.
    """
    found = _over(settings_in(ENV), _ours(os.environ))
    if OF_ONE_INSTALLATION.isdisjoint(found):
        found = _dev_files() | found
    return found


def dev_environment() -> dict[str, str]:
    """Return the variables of ``usher dev``.

    ``.env`` has a say only in rules and limits; the process environment wins over everything.

    Raises:
        SettingsError: a file is not UTF-8 text, or cannot be read.
    """
    # A blank one would count as not set, and the default may be the installation's.
    real = {
        name: value
        for name, value in _ours(os.environ).items()
        if value.strip() or name not in OF_ONE_INSTALLATION
    }
    own = _dev_files()
    if PREFIX + "IDENTITY_URL" in real:  # another Identity, whose tokens our secret did not sign
        own.pop(PREFIX + "JWT_SECRET", None)
    rules = {name: v for name, v in settings_in(ENV).items() if name not in OF_ONE_INSTALLATION}
    return rules | _over(own, real)


def set_aside() -> list[str]:
    """Return the names in ``.env`` that do not count for ``usher dev``."""
    return sorted(OF_ONE_INSTALLATION & settings_in(ENV).keys())


def dev_runs() -> bool:
    """Whether ``usher dev`` runs in this folder, now."""
    try:
        import fcntl  # noqa: PLC0415 - not on Windows, where there is no `usher dev`

        with DEV_LOCK.open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False
    return False


@contextmanager
def opened(variables: Mapping[str, str] | None = None, *, verifies: bool = True) -> Iterator[App]:
    """Open the App for a command; a SQLite file is migrated first.

    Args:
        variables: of the settings; None: those of ``environment``.
        verifies: whether events are to be verified; without that a named database is enough, and
            no secret is needed. In a folder of something else none is made.

    Raises:
        SettingsError, DatabaseError
    """
    log_for_command()
    if variables is None:
        say_whose()
    chosen = environment() if variables is None else variables
    named = {PREFIX + "DATABASE_URL", PREFIX + "DATABASE_URL" + SUFFIX} & chosen.keys()
    app = App(Settings.from_env(chosen, verifies=verifies or not named))
    with use(app):
        upgrade_if_local(app)
        yield app


def log_for_command(level: int = logging.INFO) -> None:
    """Configure the log for a command: JSON, but on a terminal words, and only what is wrong.

    Args:
        level: lines below it are dropped, wherever they go.
    """
    if sys.stderr.isatty():
        log.configure(level=max(level, logging.WARNING), plain=True)
    else:
        log.configure(level=level)


def say_whose() -> None:
    """Say on standard error that settings of ``.env`` do not count, where that is so."""
    if dev_runs() and set_aside():
        click.echo(
            "This is about the `usher dev` that runs here, not about the installation of .env.",
            err=True,
        )


def upgrade_if_local(app: App) -> None:
    """Migrate a SQLite file; other databases are migrated by ``usher db upgrade``."""
    database = app.store.database
    if database.is_sqlite and migrations.pending(database):
        migrations.upgrade(database)
        log.get_logger().info("database.upgraded")


def _dev_files() -> dict[str, str]:
    """Return what ``usher dev`` wrote. A killed one leaves an address of nobody."""
    return settings_in(DEV_ENV) | (settings_in(DEV_IDENTITY) if dev_runs() else {})


def settings_in(path: Path) -> dict[str, str]:
    """Return the settings in a file of variables; none where there is no such file.

    Raises:
        SettingsError: it is not UTF-8 text, or cannot be read.
    """
    try:
        values = dotenv_values(path)
    except UnicodeDecodeError:
        raise SettingsError((f"{path} is not UTF-8 text, so it was not read.",)) from None
    except OSError as error:  # another user's, with mode 0600
        raise SettingsError((f"{path} cannot be read: {error.strerror}.",)) from None
    return _ours({name: value for name, value in values.items() if value is not None})


def _over(lower: Mapping[str, str], upper: Mapping[str, str]) -> dict[str, str]:
    """Return both. A setting of ``upper`` wins in whichever form it is given: value or file."""
    return {name: v for name, v in lower.items() if other_name(name) not in upper} | dict(upper)


def _ours(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(PREFIX)}


def actor() -> str:
    """Return the name of this command's user in the audit: ``cli:`` and the system's user."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user often has no name; OSError since Python 3.13
        return f"cli:uid-{os.getuid()}"
