"""Writing the files of a site all or not at all, with a record by which that is undone."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from difflib import unified_diff
from pathlib import Path
from typing import Final, NamedTuple

from usher.cli.netlify.site import SetupError
from usher.cli.netlify.take_out import take_out

RECORD: Final = ".netlify/usher-setup.json"
"""Beside what Netlify's own command line keeps; git ignores it."""
KEPT: Final = "policy.toml"
"""Written by people from then on, so it stays where it was changed."""


class Change(NamedTuple):
    """One file, before and after; None where it is not there."""

    name: str
    before: str | None
    after: str | None

    @property
    def done(self) -> str:
        """``made``, ``changed``, ``removed``."""
        if self.after is None:
            return "removed"
        return "made" if self.before is None else "changed"

    def diff(self) -> str:
        """Return the change as a unified diff."""
        lines = unified_diff(
            (self.before or "").splitlines(keepends=True),
            (self.after or "").splitlines(keepends=True),
            "/dev/null" if self.before is None else f"a/{self.name}",
            "/dev/null" if self.after is None else f"b/{self.name}",
        )
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def read(path: Path) -> str | None:
    """Return a file's text, byte for byte; None where there is none.

    Raises:
        SetupError: it cannot be read.
    """
    try:
        return path.read_bytes().decode(errors="surrogateescape")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SetupError(f"{path} cannot be read: {error.strerror}.") from None


def apply(base: Path, changes: Sequence[Change], *, remember: bool) -> None:
    """Write all files, or none.

    Args:
        base: the folder that the names are below.
        changes: the files.
        remember: whether the record is kept, or removed.

    Raises:
        SetupError: a file is read-only, or cannot be written.
    """
    for change in changes:
        path = base / change.name
        if path.exists() and not path.stat().st_mode & stat.S_IWUSR:
            raise SetupError(f"{path} is read-only. Nothing was changed.")
    record = Change(RECORD, read(base / RECORD), None)
    if remember:
        record = record._replace(after=_remembered(base, changes))
    done: list[Change] = []
    try:
        for change in (record, *changes):
            done.append(change)
            _write(base, change.name, change.after)
    except OSError as error:
        for change in reversed(done):
            _write(base, change.name, change.before)
        name = error.filename or base / done[-1].name
        raise SetupError(
            f"{name} cannot be written: {error.strerror}. Nothing was changed."
        ) from None


def undo(base: Path) -> list[Change]:
    """Return what takes out all that was written; lines that somebody added since are kept.

    Raises:
        SetupError: there is no record, or somebody changed the same lines.
    """
    changes = []
    for past in _recorded(base):
        now = read(base / past.name)
        if now in (None, past.before):
            continue
        if now == past.after:
            changes.append(Change(past.name, now, past.before))
        elif past.name != KEPT:
            changes.append(Change(past.name, now, _taken_out(past, str(now))))
    return changes


def _taken_out(past: Change, now: str) -> str:
    rest = take_out(now, past.after or "", past.before or "")
    if rest is None:
        back = Change(past.name, past.after, past.before).diff()
        raise SetupError(
            f"{past.name} was changed since, in lines that setup wrote. Nothing was changed. "
            f"Take these out by hand, then run this again:\n\n{back}"
        )
    return rest


def _remembered(base: Path, changes: Sequence[Change]) -> str:
    """A second setup is undone together with the first one."""
    former = {past.name: past for past in _recorded(base, missing_ok=True)}
    files = dict(former)
    for change in changes:
        before = change.before
        if (past := former.get(change.name)) and before is not None:
            rest = take_out(before, past.after or "", past.before or "")
            before = past.before if before == past.after else before if rest is None else rest
        files[change.name] = change._replace(before=before)
    return json.dumps([each._asdict() for each in files.values()], indent=1) + "\n"


def _recorded(base: Path, *, missing_ok: bool = False) -> Iterator[Change]:
    text = read(base / RECORD)
    if text is None:
        if missing_ok:
            return
        raise SetupError(
            f"There is nothing to undo: {base / RECORD} is not there. What git has tells what "
            "setup changed: git log -p netlify.toml"
        )
    try:
        found = [Change(**each) for each in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise SetupError(f"{base / RECORD} cannot be read: {error}.") from None
    yield from found


def _write(base: Path, name: str, text: str | None) -> None:
    """Write a file whole, or remove it, and folders that are empty then."""
    path = (base / name).resolve()
    if text is None:
        path.unlink(missing_ok=True)
        for folder in (base / name).parents:
            if folder == base or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.usher")
    try:
        new.write_bytes(text.encode(errors="surrogateescape"))
        if path.exists():
            new.chmod(path.stat().st_mode & 0o7777)
        os.replace(new, path)  # noqa: PTH105 - replaces on Windows, too
    finally:
        new.unlink(missing_ok=True)
