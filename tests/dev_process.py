"""``usher dev`` as a real process, and requests to it."""

from __future__ import annotations

import json
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
def usher_dev(folder: Path, *options: str, **variables: str) -> Iterator[Site]:
    """``usher dev`` with this working directory, on a free port, until the block ends."""
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "dev", "--port", str(port), *options],
            cwd=folder,
            env=clean_environment(PYTHONPATH=str(ROOT), **variables),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    site = Site(f"http://127.0.0.1:{port}")
    try:
        _wait(site, process, folder / "log")
        yield site
    finally:
        site.pool.clear()
        process.terminate()
        process.wait(30)


def _wait(site: Site, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(400):
        try:
            if site.ask("GET", "/readyz")[0] == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
        if process.poll() is not None:
            break
    pytest.fail(log.read_text()[-800:], pytrace=False)
