"""Requests that a server refused for their size are known afterwards, to another process."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.door import JSON, Door, now
from tests.forge import good
from tests.support import ROOT, SECRET, WAIT_SECONDS, Server, clean_environment
from usher.core.bounds import MAX_EVENT_BYTES

SUM = "SELECT sum(value) FROM counters WHERE name LIKE 'oversized:%'"


def doctor(folder: Path, url: str) -> dict[str, Any]:
    """The findings by key, as another process sees them."""
    settings = {"USHER_DATABASE_URL": url, "USHER_WEBHOOK_SECRETS": SECRET.decode()}
    done = subprocess.run(
        [sys.executable, "-m", "usher.cli", "doctor", "--json"],
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(ROOT), **settings),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=True,  # a stranger does not make it fail
    )
    return {each["key"]: each for each in json.loads(done.stdout)}


def test_a2_every_413_is_told_by_doctor(
    start_server: Callable[..., Server], sqlite_url: str, tmp_path: Path
) -> None:
    """Events of Identity's, what only looks like one, and the API's; after kill -9 as well."""
    server = start_server(sqlite_url)
    door = Door(server, Path(sqlite_url.removeprefix("sqlite:///")))
    signature = f"X-Webhook-Signature: {good(b'x', now())}"
    assert door.send(b"", *JSON, signature, length=MAX_EVENT_BYTES + 1).status == 413
    assert door.send(b"", *JSON, length=300_000).status == 413
    assert door.send(b"", *JSON, length=300_000, path="/api/me", method="PATCH").status == 413
    deadline = time.monotonic() + WAIT_SECONDS
    while door.rows(SUM) != [(3,)]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    server.kill()
    found = doctor(tmp_path, sqlite_url)
    assert found["requests.events_too_large"]["facts"]["count"] == 1
    assert found["requests.too_large"]["facts"]["count"] == 2
    assert {found[f"requests.{key}"]["severity"] for key in ("events_too_large", "too_large")} == {
        "warning"
    }


def test_a2_what_was_not_written_yet_is_written_at_the_end(
    start_server: Callable[..., Server], sqlite_url: str, tmp_path: Path
) -> None:
    """A server that is restarted forgets none."""
    server = start_server(sqlite_url)
    door = Door(server, Path(sqlite_url.removeprefix("sqlite:///")))
    for _ in range(20):
        assert door.send(b"", *JSON, length=300_000).status == 413
    server.stop()
    assert doctor(tmp_path, sqlite_url)["requests.too_large"]["facts"]["count"] == 20
