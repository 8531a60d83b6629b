"""A file as git sees it. Without git, or outside a work tree, every answer is no."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

TIMEOUT_SECONDS: Final = 5
_NO: Final = 1


def tracks(path: Path) -> bool:
    """Whether git has the file, so that .gitignore does not count for it."""
    return _git(path, "ls-files", "--error-unmatch") == 0


def does_not_ignore(path: Path) -> bool:
    """Whether git would add the file; False where there is no git."""
    return _git(path, "check-ignore", "-q") == _NO


def _git(path: Path, *command: str) -> int | None:
    """Return the exit code, None without git. No program that the work tree names is run."""
    if not path.is_file() or all(
        not (folder / ".git").exists() for folder in path.absolute().parents
    ):
        return None
    try:
        return subprocess.run(  # noqa: S603 - git, as whoever calls us has it
            ["git", "-c", "core.fsmonitor=false", *command, "--", path.name],  # noqa: S607
            cwd=path.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            check=False,
        ).returncode
    except (OSError, subprocess.SubprocessError):
        return None
