"""The files at whose change ``usher dev`` restarts, and the wait for a change."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from watchfiles import Change, watch

import usher
from usher.cli.environment import dev_environment
from usher.core.errors import SettingsError
from usher.core.settings import PREFIX
from usher.server.site import FOLDER, TYPES

CODE: Final = Path(usher.__file__).resolve().parent
"""The package; in a clone its folders are links."""
LOOK_MS: Final = 100
"""Milliseconds after which a wait yields, even if nothing changed."""


class Watched:
    """The files that count now: the code, the console, the policy with its lists, ``.env``."""

    def __init__(self) -> None:
        policy = _policy()
        self._files = {Path.cwd() / ".env", policy, *_lists(policy)}
        self._code = {path for link in CODE.iterdir() for path in _folders(link.resolve())}
        self._site = set(_folders(FOLDER.resolve()))
        if policy.suffix == ".py":
            self._code.add(policy.parent)
        self._code |= {_file_of(each).parent for each in _handlers()}

    def changes(self) -> Iterator[list[Path]]:
        """Yield changed files at each change, and an empty list every ``LOOK_MS`` without one.

        Watching has begun when the first value is there. Folders are watched, not files, since
        editors put a new file in the place of the old one.
        """
        folders = self._code | self._site | {file.parent for file in self._files}
        for changes in watch(
            *(path for path in folders if path.is_dir()),
            watch_filter=self._counts,
            recursive=False,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            debounce=LOOK_MS,
        ):
            yield sorted({Path(path) for _, path in changes})

    def _counts(self, _change: Change, name: str) -> bool:
        path = Path(name)
        return (
            path in self._files
            or (path.suffix == ".py" and path.parent in self._code)
            or (path.suffix in TYPES and path.parent in self._site)
        )


def in_words(paths: list[Path]) -> str:
    """Name files, as briefly as is clear."""
    path = paths[0]
    for base in (Path.cwd(), CODE.parent):
        if path.is_relative_to(base):
            path = path.relative_to(base)
            break
    return f"{path} and {len(paths) - 1} more" if len(paths) > 1 else str(path)


def _policy() -> Path:
    """Return the policy's file: TOML, or the module of a callable."""
    try:
        source = dev_environment().get(PREFIX + "POLICY") or "policy.toml"
    except SettingsError:  # .env cannot be read; the server says so, and a change of .env mends it
        source = "policy.toml"
    module, separator, _ = source.partition(":")
    if not separator or source.endswith(".toml"):
        return Path(source).absolute()
    return _file_of(module)


def _handlers() -> list[str]:
    """Return the modules with handlers."""
    try:
        named = dev_environment().get(PREFIX + "HANDLERS", "")
    except SettingsError:
        return []
    return [each.strip() for each in named.split(",") if each.strip()]


def _file_of(module: str) -> Path:
    """Return the file of a module, or where it would be in the working folder."""
    inner = Path(*module.split("."))
    for folder in sys.path:
        for path in (Path(folder, inner).with_suffix(".py"), Path(folder, inner, "__init__.py")):
            if path.is_file():
                return path.absolute()
    return Path(inner).with_suffix(".py").absolute()


def _lists(policy: Path) -> Iterator[Path]:
    """Yield the lists that a policy's file names, also where it or one of them is no good."""
    if policy.suffix == ".toml" and policy.is_file():
        text = policy.read_text(encoding="utf-8", errors="replace")
        for name in re.findall(r"""\bfile\s*=\s*["']([^"']+)["']""", text):
            yield policy.parent / name


def _folders(top: Path) -> Iterator[Path]:
    for path in (top, *top.rglob("*")):
        if path.is_dir() and path.name != "__pycache__":
            yield path
