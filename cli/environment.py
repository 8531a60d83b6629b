"""The settings of commands, and the App they work with."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from usher import migrations
from usher.core import log
from usher.core.app import App, use
from usher.core.errors import SettingsError
from usher.core.settings import PREFIX, Settings

DEV_FOLDER: Final = Path(".usher")
DEV_ENV: Final = DEV_FOLDER / "dev.env"
DEV_IDENTITY: Final = DEV_FOLDER / "identity.env"
"""Holds the address of the local Identity, as long as ``usher dev`` runs."""


def environment() -> dict[str, str]:
    """Return the variables of all settings. The process environment wins over ``.env``.

    The files of ``usher dev`` come last. They count only where no webhook secret is set, so that
    they never mix into a real installation.

    Raises:
        SettingsError: a file is not UTF-8 text, or cannot be read.
    """
    found = _file(Path(".env")) | _ours(os.environ)
    if PREFIX + "WEBHOOK_SECRETS" not in found:
        found = _file(DEV_ENV) | _file(DEV_IDENTITY) | found
    return found


@contextmanager
def opened() -> Iterator[App]:
    """Open the App for a command; a SQLite file is migrated first.

    Raises:
        SettingsError, DatabaseError
    """
    log_for_command()
    app = App(Settings.from_env(environment()))
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


def upgrade_if_local(app: App) -> None:
    """Migrate a SQLite file; other databases are migrated by ``usher db upgrade``."""
    database = app.store.database
    if database.is_sqlite and migrations.pending(database):
        migrations.upgrade(database)
        log.get_logger().info("database.upgraded")


def _file(path: Path) -> dict[str, str]:
    try:
        values = dotenv_values(path)
    except UnicodeDecodeError:
        raise SettingsError((f"{path} is not UTF-8 text, so it was not read.",)) from None
    except OSError as error:  # another user's, with mode 0600
        raise SettingsError((f"{path} cannot be read: {error.strerror}.",)) from None
    return _ours({name: value for name, value in values.items() if value is not None})


def _ours(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith(PREFIX)}
