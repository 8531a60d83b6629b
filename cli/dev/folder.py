"""The folder ``.usher/`` of ``usher dev``: secrets, databases, and a lock."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import click
from dotenv import dotenv_values

from usher.cli.environment import DEV_ENV, DEV_FOLDER, DEV_IDENTITY, DEV_LOCK
from usher.cli.secret import new_secret
from usher.core.settings import PREFIX

IGNORE: Final = DEV_FOLDER / ".gitignore"
SEED_PASSWORD: Final = DEV_FOLDER / "seed-password"
PATIENCE_SECONDS: Final = 0.2
"""A command that asks whether we run holds the lock for a moment."""


@contextmanager
def held(url: str) -> Iterator[None]:
    """Lock the folder for this process.

    Args:
        url: of this process; told to another ``usher dev`` that wants the folder.

    Raises:
        click.ClickException: another ``usher dev`` holds the lock.
    """
    make_folder()
    with DEV_LOCK.open("a+", encoding="utf-8") as file:
        if not _locked(file):
            file.seek(0)
            raise click.ClickException(
                f"Another `usher dev` runs in this folder: {file.read().strip()}. Stop it with"
                " Ctrl-C there, or start this one in another folder and with another --port."
            )
        file.truncate(0)
        file.write(f"process {os.getpid()}, {url}\n")
        file.flush()
        DEV_IDENTITY.unlink(missing_ok=True)  # left by one that was killed
        yield


def _locked(file: IO[str]) -> bool:
    import fcntl  # noqa: PLC0415 - not on Windows, where the other commands still run

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def make_folder() -> None:
    """Make the folder, which git ignores."""
    DEV_FOLDER.mkdir(mode=0o700, exist_ok=True)
    IGNORE.write_text("*\n", encoding="utf-8")  # also where the folder around it ignores nothing


def make_state() -> None:
    """Write new secrets and the database's address, those that the file does not hold yet.

    Without any of them, one of the real installation could take its place.
    """
    make_folder()
    if not DEV_ENV.exists():
        text = "# Made by `usher dev`, for this folder only. Delete it to start over.\n"
        _write_secret(DEV_ENV, text)
    there = dotenv_values(DEV_ENV)
    wanted = {
        f"{PREFIX}WEBHOOK_SECRETS": new_secret(),
        f"{PREFIX}JWT_SECRET": new_secret(),
        f"{PREFIX}DATABASE_URL": f"sqlite:///{DEV_FOLDER}/usher.db",
    }
    with DEV_ENV.open("a", encoding="utf-8") as file:
        # A line of somebody's editor may have no end.
        file.writelines(f"\n{name}={v}\n" for name, v in wanted.items() if not there.get(name))


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
def told(variables: Mapping[str, str]) -> Iterator[None]:
    """Let commands in the folder know this run's own settings meanwhile, such as its Identity."""
    DEV_IDENTITY.unlink(missing_ok=True)
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    _write_secret(DEV_IDENTITY, f"# Of the `usher dev` that runs, for commands beside it.\n{lines}")
    try:
        yield
    finally:
        DEV_IDENTITY.unlink(missing_ok=True)


def forget() -> None:
    """Remove everything in the folder but the lock, which we hold."""
    for path in DEV_FOLDER.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != DEV_LOCK:
            path.unlink()
