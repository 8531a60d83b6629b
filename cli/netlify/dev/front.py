"""Netlify's command line with front.mjs before it: one process group, which never outlives us."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

import click
import urllib3

from usher.cli.netlify.site import SetupError
from usher.netlify.packages import HERE, node

FRONT: Final = HERE / "front.mjs"
READY_SECONDS: Final = 300
"""A framework's own server may have much to do before its first page."""
GRACE_SECONDS: Final = 5
PREFIX: Final = "netlify | "
SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
"""Without a terminal each of its turns is a line."""
HOW_TO_GET_IT: Final = (
    "Netlify's command line is not here. Run: npm install --save-dev netlify-cli (for this site), "
    "or npm install --global netlify-cli."
)
_COLOUR: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def netlify_cli(site: Path) -> str:
    """Return the program: the site's own, or that on the PATH.

    Raises:
        SetupError: there is none.
    """
    for folder in (site, *site.parents):
        if found := shutil.which("netlify", path=str(folder / "node_modules" / ".bin")):
            return found
    found = shutil.which("netlify")
    if found is None:
        raise SetupError(HOW_TO_GET_IT)
    return found


class Front:
    """The processes, and the port at which Netlify's command line listens."""

    def __init__(
        self, process: subprocess.Popen[bytes], cli: int, reader: threading.Thread
    ) -> None:
        self._process = process
        self._cli = cli
        self._reader = reader

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def wait(self) -> int | None:
        """Wait until Netlify's command line answers; the status of the API's health.

        None: it ended first, or took too long.
        """
        deadline = time.monotonic() + READY_SECONDS
        with urllib3.PoolManager(retries=False, timeout=60) as pool:
            while self.runs and time.monotonic() < deadline:
                with suppress(urllib3.exceptions.HTTPError):
                    url = f"http://127.0.0.1:{self._cli}/api/health"
                    return pool.request("GET", url, redirect=False).status
                time.sleep(0.1)
        return None

    def end(self) -> None:
        """End all of it; what does not end by itself is killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(GRACE_SECONDS)
        self._reader.join(GRACE_SECONDS)
        if self._process.stdin is not None:
            self._process.stdin.close()


@contextmanager
def front(
    program: str,
    folder: Path,
    environment: Mapping[str, str],
    ports: Mapping[str, int],
) -> Iterator[Front]:
    """Run Netlify's command line and what is before it until the block ends.

    Args:
        program: Netlify's.
        folder: with the netlify.toml.
        environment: of the functions, and of everything else that it runs.
        ports: ``site``, ``console``, ``cli`` and ``local``, as front.mjs takes them.
    """
    command = [program, "dev", "--offline", "--no-open", "--skip-gitignore"]
    command += ["--port", str(ports["cli"])]
    process = subprocess.Popen(  # noqa: S603 - Node and Netlify's own program, as the person has them
        [node(), str(FRONT), json.dumps({**ports, "command": command})],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.PIPE,  # all of it ends when this closes, however we end
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C reaches us only, and we end it
    )
    own = f"localhost:{ports['cli']}", f"127.0.0.1:{ports['site']}"
    reader = threading.Thread(target=_pass_on, args=(process.stdout, *own), daemon=True)
    reader.start()
    running = Front(process, ports["cli"], reader)
    try:
        yield running
    finally:
        running.end()


def _pass_on(output: IO[bytes], theirs: str, ours: str) -> None:
    """Print each line; the address that it names is not the one to open."""
    with output:
        for raw in output:
            line = _COLOUR.sub("", raw.decode(errors="replace")).rstrip().replace(theirs, ours)
            if line and line[0] not in SPINNER:
                click.echo(PREFIX + line)
