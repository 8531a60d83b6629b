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

from usher.cli.output import json_option, print_json, say
from usher.cli.published import why_published
from usher.cli.secret import new_secret
from usher.core.settings import PREFIX

IGNORED: Final = (".env", ".usher/", ".usher-spool/", "*.db", "*.db-shm", "*.db-wal")
"""Secrets and personal records, which git must not commit."""
EMPTY_SECRETS: Final = f"#{PREFIX}WEBHOOK_SECRETS="
NEXT: Final = (
    ("usher dev", "try it here, with a local Identity"),
    ("usher doctor", "see whether everything is set up"),
    ("usher db upgrade", "make the tables"),
    ("usher serve", "run it"),
)


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


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@json_option
def init(folder: Path, as_json: bool) -> None:
    """Create .env with a new secret, and policy.toml, in FOLDER (default: here).

    Secrets and databases are added to .gitignore. Existing files are kept as they are. A folder
    that Netlify or a web server publishes is refused.
    """
    place = folder.resolve()
    if reason := why_published(place):
        raise click.ClickException(
            f"{place} is no place for secrets and databases. {reason} Choose another folder, one "
            "that is not published: usher init FOLDER"
        )
    try:
        place.mkdir(parents=True, exist_ok=True)
        # The secret is written last, when git already ignores it.
        done = [_gitignore(place), _policy(place), _env(place)]
    except OSError as error:
        name = error.filename or place
        raise click.ClickException(f"{name} cannot be written: {error.strerror}.") from None
    if as_json:
        print_json(_document(place, done))
    else:
        _tell(place, done)


def _gitignore(place: Path) -> File:
    path = place / ".gitignore"
    if not path.exists():
        _make(path, "".join(f"{line}\n" for line in IGNORED), 0o666)
        return File(path.name, Done.MADE, "git leaves out secrets and databases")
    before = path.read_bytes()
    missing = _missing(before.decode(errors="replace").splitlines())
    if not missing:
        return File(path.name, Done.KEPT, "it leaves out secrets and databases already")
    lines = "".join(f"{line}\n" for line in missing)
    with _whole(path, lambda: os.truncate(path, len(before))), path.open("ab") as file:
        _write(file, lines if before.endswith(b"\n") or not before else f"\n{lines}")
    return File(path.name, Done.EXTENDED, f"git leaves out {', '.join(missing)}")


def _missing(lines: Sequence[str]) -> list[str]:
    """Return the names that are not ignored yet. The last line about a name decides."""
    ignored = {}
    for line in map(str.strip, lines):
        ignored[line.removeprefix("!").strip("/")] = not line.startswith("!")
    return [line for line in IGNORED if not ignored.get(line.strip("/"))]


def _policy(place: Path) -> File:
    path = place / "policy.toml"
    remark = "who may enter, with which roles; put your own address and domain in it"
    return _unless_there(path, _starter("policy.toml"), 0o666, remark)


def _env(place: Path) -> File:
    path = place / ".env"
    text = _starter("env.example")
    if text.count(EMPTY_SECRETS + "\n") != 1:
        raise AssertionError("unreachable")
    text = text.replace(EMPTY_SECRETS, f"{EMPTY_SECRETS[1:]}{new_secret()}")
    return _unless_there(path, text, 0o600, "the settings, with a new secret; for your eyes only")


def _starter(name: str) -> str:
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


def _document(place: Path, done: Sequence[File]) -> dict[str, object]:
    named = {how.value: [file.name for file in done if file.done is how] for how in Done}
    return {"folder": str(place), **named, "next": [command for command, _ in NEXT]}


def _tell(place: Path, done: Sequence[File]) -> None:
    for file in done:
        click.echo(f"{file.done.capitalize():<9} {file.name:<12} {file.remark}")
    click.echo("\nNext:")
    if place != Path.cwd():
        say(f"  cd {shlex.quote(str(place))}")
    for command, what in NEXT:
        click.echo(f"  {command:<17} {what}")
