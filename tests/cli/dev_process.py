"""``usher dev`` as a real process, for the tests that look at what it prints."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import urllib3

from tests.support import ROOT, clean_environment, free_port

COMMAND = [sys.executable, "-m", "cli", "dev"]
GUIDED = "starts this again"
"""The end of what it prints once it answers."""
WAIT_SECONDS = 120
"""What only a machine under heavy load needs."""


class Dev:
    """A running command, in a folder of its own.

    Args:
        root: whose code runs.
    """

    def __init__(self, folder: Path, *options: str, root: Path = ROOT) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--port", str(self.port), *options],
                cwd=folder,
                env=clean_environment(PYTHONPATH=str(root), PYTHONUNBUFFERED="1"),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it was printed so often."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self.log.read_text().count(text) < times:
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"not said: {text!r}\n{self.log.read_text()[-1500:]}", pytrace=False)
            time.sleep(0.05)

    def get(self, path: str) -> str:
        """What is answered; JSON, where there is a choice."""
        headers = {"Accept": "application/json"}
        answer = urllib3.request("GET", self.url + path, headers=headers, retries=False)
        assert answer.status == 200
        return answer.data.decode()

    def answers(self) -> bool:
        """Whether somebody is behind the port."""
        try:
            return bool(self.get("/healthz"))
        except urllib3.exceptions.HTTPError:
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        self.process.send_signal(how)
        return self.process.wait(WAIT_SECONDS)
