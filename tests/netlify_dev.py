"""``usher netlify dev`` as a real process, in a small site whose functions are built already."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.netlify_site import NODE
from tests.support import ROOT, clean_environment, free_port
from usher.cli.netlify.dev.bundle import note

GUIDED = "Ctrl-C ends it."
"""The end of what it prints once the site answers."""
WAIT_SECONDS = 300
"""What only a machine under heavy load needs."""
CONFIGURATION = """\
[build]
publish = "public"

[[redirects]]
from = "/api/*"
to = "/.netlify/functions/api"
status = 200
force = true
"""


@dataclass
class NetlifyDev:
    """The command, as it runs."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def site(self) -> str:
        """The site's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def console(self) -> str:
        """The console's address, as it was said."""
        found = re.search(r"(http://127\.0\.0\.1:\d+)/ +The console", self.log.read_text())
        assert found is not None, self.log.read_text()
        return found[1]

    @property
    def parts(self) -> list[psutil.Process]:
        """The processes that it started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def says(self, text: str) -> None:
        """Wait until it was printed."""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in self.log.read_text():
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"not said: {text!r}\n{self.log.read_text()[-4000:]}", pytrace=False)
            time.sleep(0.05)


def make_site(folder: Path, built: Path, page: str, settings: dict[str, str]) -> Path:
    """A site with a page, and with functions that were built for another one of the same policy."""
    shutil.copytree(built, folder, copy_function=os.link)
    (folder / "public").mkdir()
    (folder / "public" / "index.html").write_text(page)
    (folder / "netlify.toml").write_text(CONFIGURATION)
    before = Path.cwd()
    try:
        os.chdir(folder)
        note(folder, settings)
    finally:
        os.chdir(before)
    return folder


@contextmanager
def usher_netlify_dev(
    folder: Path, programs: Path, database: str, **variables: str
) -> Iterator[NetlifyDev]:
    """Run the command in a site's folder, on free ports, until the block ends.

    Args:
        programs: the folder with Netlify's command line.
    """
    port, log = free_port(), folder.with_name(f"{folder.name}.log")
    path = os.pathsep.join([NODE, str(programs), os.defpath])
    options = ["--port", str(port), "--database", database]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "usher.cli", "netlify", "dev", *options],
            cwd=folder,
            env=clean_environment(
                PATH=path,
                HOME=str(folder.parent),
                XDG_CACHE_HOME=os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
                PYTHONPATH=str(ROOT),
                PYTHONUNBUFFERED="1",
                **variables,
            ),
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    running = NetlifyDev(process, port, log)
    try:
        running.says(GUIDED)
        yield running
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(WAIT_SECONDS)
