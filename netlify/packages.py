"""The locked packages from npm and PyPI that the bundle is made of, fetched once for each lock."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from usher.core.errors import BuildError

HERE: Final = Path(__file__).parent
RUNTIME: Final = HERE / "runtime"
PYPI_LOCK: Final = HERE / "requirements.lock"
NPM_FILES: Final = ("package.json", "package-lock.json")
NODE_MAJOR: Final = 22
NPM: Final = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
PIP: Final = (
    "download", "--disable-pip-version-check", "--quiet", "--require-hashes", "--no-deps",
    "--only-binary", ":all:", "--implementation", "cp", "--python-version", "3.14",
    "--abi", "cp314", "--platform", "pyemscripten_2026_0_wasm32",
)  # fmt: skip
"""Wheels for Pyodide's Python; those of pure Python suit it, too."""


def node() -> str:
    """Return the path of Node.js.

    Raises:
        BuildError: there is none, or an old one.
    """
    found = shutil.which("node")
    if found is None:
        raise BuildError(f"Node.js is not on the PATH; version {NODE_MAJOR} or newer is needed.")
    version = run([found, "--version"], Path.cwd(), "node --version").strip()
    major = re.match(r"v(\d+)\.", version)
    if major is None or int(major[1]) < NODE_MAJOR:
        raise BuildError(f"{found} is Node.js {version}; {NODE_MAJOR} or newer is needed.")
    return found


def fetch_pyodide() -> Path:
    """Return the folder of the npm package ``pyodide``.

    Raises:
        BuildError: npm could not install it, or found other bytes than the lock names.
    """
    folder = _cache("npm", *(RUNTIME / name for name in NPM_FILES))

    def fill(new: Path) -> None:
        for name in NPM_FILES:
            shutil.copy(RUNTIME / name, new)
        run(NPM, new, "npm ci")

    return _once(folder, fill) / "node_modules" / "pyodide"


def fetch_wheels() -> list[Path]:
    """Return the wheels, by name.

    Raises:
        BuildError: pip could not download them, or found other bytes than the lock names.
    """
    folder = _cache("pypi", PYPI_LOCK)

    def fill(new: Path) -> None:
        pip = [sys.executable, "-m", "pip", *PIP, "-r", str(PYPI_LOCK), "-d", str(new)]
        run(pip, new, "pip download")

    return sorted(_once(folder, fill).glob("*.whl"))


def run(command: Sequence[str], folder: Path, name: str) -> str:
    """Run a program and return what it prints.

    Raises:
        BuildError: it cannot be run, or failed; quotes the end of what it said.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, check=False, capture_output=True, text=True, errors="replace"
        )
    except OSError as error:
        raise BuildError(f"{name} cannot be run: {error}") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-2_000:]
        raise BuildError(f"{name} failed:\n{said}")
    return done.stdout


def _cache(kind: str, *locks: Path) -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()[:16]
    return Path(base) / "usher" / f"netlify-{kind}-{digest}"


def _once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """Fill a folder, unless an earlier build did; a broken-off one leaves nothing behind."""
    if not folder.exists():
        new = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        try:
            fill(new)
            new.rename(folder)
        except OSError:
            if not folder.exists():  # another build was first
                raise
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return folder
