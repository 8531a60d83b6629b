"""``usher init``: write the files of a new installation; existing files are kept."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import IO, Final, NamedTuple

import click
from dotenv import dotenv_values

from usher.cli.git import does_not_ignore, tracks
from usher.cli.output import json_option, print_json, say
from usher.cli.published import why_published
from usher.cli.secret import new_secret
from usher.core.settings import PREFIX

IGNORED: Final = (".env", ".usher/", ".usher-spool/", "*.db", "*.db-shm", "*.db-wal")
"""Secrets and personal records, which git must not commit."""
EMPTY_SECRETS: Final = f"#{PREFIX}WEBHOOK_SECRETS="
NEXT: Final = (
    ("usher dev", "try it, with an Identity and a database of its own"),
    ("usher doctor", "see whether everything is set up"),
    ("usher db upgrade", "make the tables"),
    ("usher serve", "run it"),
)


MAKE_SECRET: Final = ("usher secret", "make one, for USHER_WEBHOOK_SECRETS in .env")


class Done(StrEnum):
    """The result for one file."""

    MADE = "made"
    EXTENDED = "extended"
    KEPT = "kept"


class File(NamedTuple):
    """One file of the folder, its result, and a remark for people."""

    name: str
    done: Done
    remark: str


class Report(NamedTuple):
    """The result of the command: the files, sentences of warning, and the next commands."""

    place: Path
    files: Sequence[File]
    warnings: Sequence[str]
    next: Sequence[tuple[str, str]]

    def document(self) -> dict[str, object]:
        """Return it for programs."""
        named = {how.value: [file.name for file in self.files if file.done is how] for how in Done}
        return {
            "folder": str(self.place),
            **named,
            "warnings": list(self.warnings),
            "next": [command for command, _ in self.next],
        }

    def tell(self, here: Path) -> None:
        """Print it for people, who are in this folder."""
        for file in self.files:
            click.echo(f"{file.done.capitalize():<9} {file.name:<12} {file.remark}")
        for warning in self.warnings:
            say(warning, fg="yellow")
        click.echo("\nNext:")
        if self.place != here:
            say(f"  cd {shlex.quote(str(self.place))}")
        for command, what in self.next:
            click.echo(f"  {command:<17} {what}")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@json_option
def init(folder: Path, as_json: bool) -> None:
    """Create .env with a new secret, and policy.toml, in FOLDER (default: here).

    Secrets and databases are added to .gitignore. Existing files are kept as they are. A folder
    that Netlify or a web server publishes is refused.
    """
    try:
        place = folder.resolve()
        here = Path.cwd()
        reason = why_published(place)
    except (OSError, RuntimeError) as error:  # the second: links in a circle
        raise click.ClickException(_why_lost(folder, error)) from None
    if reason:
        raise click.ClickException(
            f"{place} is no place for secrets and databases. {reason} Choose another folder, one "
            "that is not published: usher init FOLDER"
        )
    try:
        _check(place)
        place.mkdir(parents=True, exist_ok=True)
        # The secret is written last, when git already ignores it.
        done = [_gitignore(place), _policy(place), _env(place)]
    except OSError as error:
        name = error.filename or place
        raise click.ClickException(f"{name} cannot be written: {error.strerror}.") from None
    report = Report(place, done, _warnings(place), _next(place))
    if as_json:
        print_json(report.document())
    else:
        report.tell(here)


def _why_lost(folder: Path, error: OSError | RuntimeError) -> str:
    try:
        Path.cwd()
    except OSError:
        return "The working folder has been removed. Go to one that exists, and try again there."
    why = error.strerror if isinstance(error, OSError) else "its links go in a circle"
    return f"{folder} cannot be used: {why}."


def _check(place: Path) -> None:
    """Refuse what would neither be kept nor made.

    Raises:
        click.ClickException: one of the files is there, but is no file.
    """
    ignore = place / ".gitignore"
    if ignore.is_symlink():
        raise click.ClickException(
            f"{ignore} is a link, which git does not follow. Put a file in its place first."
        )
    for path in (ignore, place / "policy.toml", place / ".env"):
        if path.is_symlink() and not path.exists():
            raise click.ClickException(
                f"{path} is a link to {path.readlink()}, which is not there. Make that file, or "
                "remove the link."
            )
        if path.exists() and not path.is_file():
            raise click.ClickException(f"{path} is there, but is no file. Move it away first.")


def _warnings(place: Path) -> list[str]:
    """Return sentences on what somebody else could read, each with its remedy."""
    env = place / ".env"
    found = []
    mode = env.stat().st_mode & 0o777
    if os.name == "posix" and mode & ~0o600:
        path = shlex.quote(str(env))
        found.append(f".env has mode {mode:04o}, not 0600. Others may read it: chmod 600 {path}")
    if tracks(env):
        found.append(
            ".env is in git already, and .gitignore does not change that: git rm --cached .env. "
            "If it was ever pushed, its secrets are known: make new ones (usher secret)."
        )
    elif does_not_ignore(env):
        found.append("git does not ignore .env all the same. See why: git check-ignore -v .env")
    return found


def _next(place: Path) -> list[tuple[str, str]]:
    """Return the commands that come next; a secret first, where a kept .env has none."""
    try:
        secret = dotenv_values(place / ".env").get(f"{PREFIX}WEBHOOK_SECRETS")
    except (OSError, ValueError):  # another user's, or no UTF-8: the commands say so
        return list(NEXT)
    return list(NEXT) if secret else [MAKE_SECRET, *NEXT]


def _gitignore(place: Path) -> File:
    path = place / ".gitignore"
    if not path.exists():
        _make(path, "".join(f"{line}\n" for line in IGNORED), 0o666)
        return File(path.name, Done.MADE, "git leaves out secrets and databases")
    before = path.read_bytes()
    missing = not_ignored(before.decode(errors="replace").splitlines(), IGNORED)
    if not missing:
        return File(path.name, Done.KEPT, "it leaves out secrets and databases already")
    lines = "".join(f"{line}\n" for line in missing)
    with _whole(path, lambda: os.truncate(path, len(before))), path.open("ab") as file:
        _write(file, lines if before.endswith(b"\n") or not before else f"\n{lines}")
    return File(path.name, Done.EXTENDED, f"git leaves out {', '.join(missing)}")


def not_ignored(lines: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return those of ``wanted`` that a .gitignore of these lines does not name yet.

    A line that begins with "!" may name any of them (``!.env*``), so what stands above it does not
    count: the last line decides.
    """
    ignored: set[str] = set()
    for line in map(str.strip, lines):
        if line.startswith("!"):
            ignored.clear()
        else:
            ignored.add(line.strip("/"))
    return [line for line in wanted if line.strip("/") not in ignored]


def _policy(place: Path) -> File:
    path = place / "policy.toml"
    remark = "who may enter, with which roles; put your own address and domain in it"
    return _unless_there(path, starter("policy.toml"), 0o666, remark)


def _env(place: Path) -> File:
    path = place / ".env"
    text = starter("env.example")
    if text.count(EMPTY_SECRETS + "\n") != 1:
        raise AssertionError("unreachable")
    text = text.replace(EMPTY_SECRETS, f"{EMPTY_SECRETS[1:]}{new_secret()}")
    return _unless_there(path, text, 0o600, "the settings, with a new secret; for your eyes only")


def starter(name: str) -> str:
    """Read a file that is shipped with Usher."""
    return files("usher").joinpath(name).read_text(encoding="utf-8")


def _unless_there(path: Path, text: str, mode: int, remark: str) -> File:
    try:
        _make(path, text, mode)
    except FileExistsError:
        return File(path.name, Done.KEPT, "it was there already")
    return File(path.name, Done.MADE, remark)


def _make(path: Path, text: str, mode: int) -> None:
    """Write a new file, whole or not at all.

    Raises:
        FileExistsError: the path exists, if only as a dangling link.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with _whole(path, path.unlink), os.fdopen(descriptor, "wb") as file:
        _write(file, text)


def _write(file: IO[bytes], text: str) -> None:
    file.write(text.encode())
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def _whole(path: Path, undo: Callable[[], None]) -> Iterator[None]:
    """Undo a write that failed halfway, and put the file's name into the error."""
    try:
        yield
    except BaseException as error:
        undo()
        if isinstance(error, OSError):
            error.filename = str(path)
        raise
