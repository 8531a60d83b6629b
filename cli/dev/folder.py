"""The folder ``.usher/`` of ``usher dev``: secrets, databases, and a lock."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from usher.cli.environment import DEV_ENV, DEV_FOLDER, DEV_IDENTITY, environment
from usher.cli.secret import new_secret
from usher.core.settings import PREFIX

LOCK: Final = DEV_FOLDER / "dev.lock"
IGNORE: Final = DEV_FOLDER / ".gitignore"
SEED_PASSWORD: Final = DEV_FOLDER / "seed-password"


@contextmanager
def held(url: str) -> Iterator[None]:
    """Lock the folder for this process.

    Args:
        url: of this process; told to another ``usher dev`` that wants the folder.

    Raises:
        click.ClickException: another ``usher dev`` holds the lock.
    """
    import fcntl  # noqa: PLC0415 - not on Windows, where the other commands still run

    DEV_FOLDER.mkdir(mode=0o700, exist_ok=True)
    with LOCK.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise click.ClickException(
                f"Another `usher dev` runs in this folder: {file.read().strip()}. Stop it with"
                " Ctrl-C there, or start this one in another folder and with another --port."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}, {url}\n")
        file.flush()
        DEV_IDENTITY.unlink(missing_ok=True)  # left by one that was killed
        yield


def make_state() -> None:
    """Write new secrets and the database's address, unless secrets are set already."""
    IGNORE.write_text("*\n", encoding="utf-8")  # also where the folder around it ignores nothing
    if DEV_ENV.exists() or PREFIX + "WEBHOOK_SECRETS" in environment():
        return
    _write_secret(
        DEV_ENV,
        "# Made by `usher dev`, for this folder only. Delete it to start over.\n"
        f"{PREFIX}WEBHOOK_SECRETS={new_secret()}\n"
        f"{PREFIX}JWT_SECRET={new_secret()}\n"
        f"{PREFIX}DATABASE_URL=sqlite:///{DEV_FOLDER}/usher.db\n",
    )


def seed_password() -> tuple[str, bool]:
    """The password of those who are signed up by ``--seed``, and whether it was made just now."""
    if SEED_PASSWORD.exists():
        return SEED_PASSWORD.read_text(encoding="utf-8").strip(), False
    password = secrets.token_urlsafe(15)
    _write_secret(SEED_PASSWORD, f"{password}\n")
    return password, True


def _write_secret(path: Path, text: str) -> None:
    """A new file that only this user may read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


@contextmanager
def told(identity_url: str) -> Iterator[None]:
    """Let commands in the folder know the local Identity, and tell it of changes, meanwhile."""
    DEV_IDENTITY.write_text(
        "# Where the Identity of the `usher dev` that runs is, for the commands beside it.\n"
        f"{PREFIX}IDENTITY_URL={identity_url}\n",
        encoding="utf-8",
    )
    try:
        yield
    finally:
        DEV_IDENTITY.unlink(missing_ok=True)


def forget() -> None:
    """Remove everything in the folder but the lock, which we hold."""
    for path in DEV_FOLDER.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != LOCK:
            path.unlink()
