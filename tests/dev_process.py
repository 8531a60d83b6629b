"""``usher dev`` as a real process, what it prints, and requests to it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import urllib3

from tests.support import ROOT, clean_environment, free_port

COMMAND = [sys.executable, "-m", "usher.cli", "dev"]
GUIDED = "starts this again"
"""The end of what it prints once it answers."""
WAIT_SECONDS = 120
"""What only a machine under heavy load needs."""


class Dev:
    """A running command, in a folder of its own.

    Args:
        root: whose code runs.
        variables: settings.
    """

    def __init__(self, folder: Path, *options: str, root: Path = ROOT, **variables: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--port", str(self.port), *options],
                cwd=folder,
                env=clean_environment(PYTHONPATH=str(root), PYTHONUNBUFFERED="1", **variables),
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


class Site:
    """What runs behind one port."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pool = urllib3.PoolManager(retries=False, timeout=30, maxsize=8)

    def ask(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[int, Any]:
        """A request with JSON, or a form; what was answered."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if isinstance(body, dict):
            body = json.dumps(body)
        elif body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        answer = self.pool.request(method, self.url + path, body=body, headers=headers)
        return answer.status, json.loads(answer.data) if answer.data else None

    def identity(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request to the local Identity."""
        return self.ask(method, f"/.netlify/identity{path}", body)

    def log_in(self, email: str, password: str = "a password") -> str:
        """An access token."""
        form = {"grant_type": "password", "username": email, "password": password}
        status, answer = self.identity("POST", "/token", urlencode(form))
        assert status == 200, answer
        token: str = answer["access_token"]
        return token


@contextmanager
def usher_dev(folder: Path, *options: str, **variables: Any) -> Iterator[Site]:
    """``usher dev`` with this working directory, on a free port, until the block ends."""
    running = Dev(folder, *options, **variables)
    site = Site(running.url)
    try:
        running.says(GUIDED)
        yield site
    finally:
        site.pool.clear()
        running.stop()
