"""Usher as others have it: built, and installed where nothing else of ours can be reached.

No network: packages of others are links to those that the tests themselves run with, and only
those that the distribution asks for. The tests' own Usher is not among them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any, Final

import pytest
import urllib3
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT, WAIT_SECONDS, clean_environment, free_port

NAME: Final = "usher-identity"
WITHOUT_NETWORK: Final = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")


def build(target: str, into: Path, source: Path = ROOT) -> Path:
    """A wheel or an sdist, made by hatchling."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [made] = into.iterdir()
    return made


def wheel_of(sdist: Path, into: Path) -> Path:
    """What pip makes of an sdist before it installs it."""
    pip("wheel", "--no-build-isolation", "-w", str(into), str(sdist))
    [made] = into.iterdir()
    return made


def pip(*arguments: str, python: Path | None = None) -> None:
    """Our pip, for us or for another environment."""
    where = ["--python", str(python)] if python else []
    command = [sys.executable, "-m", "pip", *where, arguments[0], *WITHOUT_NETWORK, *arguments[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Installed:
    """A virtual environment with Usher in it, as installed from a wheel.

    Args:
        extras: those of Usher.
        beside: further distributions, which a project of its own asks for.

    Attributes:
        own: what the wheel alone put beside Python.
    """

    def __init__(
        self, folder: Path, wheel: Path, *extras: str, beside: Collection[str] = ()
    ) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.python = folder / "bin" / "python"
        self.command = folder / "bin" / "usher"
        [packages] = folder.glob("lib/python*/site-packages")
        pip("install", str(wheel), python=self.python)
        self.own = {path.name for path in packages.iterdir()}
        [metadata] = packages.glob("usher_identity-*.dist-info")
        ours = _needed(Distribution.at(metadata), frozenset(extras))
        theirs = (each for name in beside for each in _needed(distribution(name), frozenset()))
        for needed in (*ours, *map(distribution, beside), *theirs):
            for name in {file.parts[0] for file in needed.files or ()} - {"..", "__pycache__"}:
                if not (packages / name).exists():
                    (packages / name).symlink_to(str(needed.locate_file(name)))

    def run(
        self, folder: Path, *arguments: str | Path, code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """A program in a folder, with nothing in its environment but these variables."""
        done = subprocess.run(
            [str(argument) for argument in arguments],
            cwd=folder,
            env=clean_environment(**variables),
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def usher(
        self, folder: Path, *arguments: str, code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """The command."""
        return self.run(folder, self.command, *arguments, code=code, **variables)

    def json(self, folder: Path, *arguments: str) -> Any:
        """What the command prints for programs."""
        return json.loads(self.usher(folder, *arguments, "--json").stdout)

    @contextmanager
    def running(self, folder: Path, command: str, ready: str) -> Iterator[str]:
        """``usher serve`` or ``usher dev``, until the block ends; its address.

        Args:
            ready: a path that is answered 200 once it runs.
        """
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        log = folder / f"{command}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(self.command), command, "--port", str(port)],
                cwd=folder,
                env=clean_environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while not _answers(url + ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"it does not answer\n{log.read_text()[-1500:]}", pytrace=False)
                time.sleep(0.05)
            yield url
        finally:
            process.terminate()
            process.wait(WAIT_SECONDS)
        assert process.returncode == 0
        assert "Traceback" not in log.read_text()


def _needed(ours: Distribution, extras: frozenset[str]) -> Iterator[Distribution]:
    """The distributions that the installed one needs, and what those need, each once.

    Its own metadata count, not those of the clone: that was installed some time before.
    """
    wanted, done = [(ours, extras)], set()
    while wanted:
        found, extras = wanted.pop()
        if found is not ours:
            yield found
        for line in found.requires or ():
            requirement = Requirement(line)
            marker = requirement.marker
            name, more = canonicalize_name(requirement.name), frozenset(requirement.extras)
            if (name, more) not in done and (
                marker is None or any(marker.evaluate({"extra": e}) for e in extras | {""})
            ):
                done.add((name, more))
                wanted.append((distribution(name), more))


def _answers(url: str) -> bool:
    try:
        return urllib3.request("GET", url, retries=False, timeout=5).status == 200
    except urllib3.exceptions.HTTPError:
        return False
