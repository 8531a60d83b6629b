"""Rounds of maintenance beside the server."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from tests.support import Server, account, signed
from usher.core.errors import DatabaseError
from usher.server.periodic_tasks import run_periodically


def test_steps_are_taken_until_nothing_is_left_and_a_failure_ends_no_round() -> None:
    """What fails is logged, and the next round does it, which is logged too."""
    results = [True, True, False, DatabaseError("gone"), False]
    taken: list[object] = []

    def step() -> bool:
        result = results[len(taken)] if len(taken) < len(results) else False
        taken.append(result)
        if isinstance(result, Exception):
            raise result
        return bool(result)

    async def run() -> None:
        task = asyncio.create_task(run_periodically(step, "work", first=0, every=0.001, pause=0))
        while len(taken) < 6:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with capture_logs() as lines:
        asyncio.run(run())
    assert taken[:5] == results
    assert [line["event"] for line in lines] == ["maintenance.failed", "maintenance.recovered"]


def test_what_fails_again_and_again_is_told_at_first_when_it_changes_and_once_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An outage of an hour is no flood of lines; each says how often it was."""
    seconds = itertools.count(0.0, 2.0)
    monkeypatch.setattr("usher.core.log.monotonic", lambda: next(seconds))
    fails = ["gone"] * 40 + ["starting"] * 2 + ["", "", "gone"]
    taken: list[str] = []

    def step() -> bool:
        taken.append(fails[len(taken)] if len(taken) < len(fails) else "")
        if taken[-1]:
            raise DatabaseError(taken[-1])
        return False

    async def run() -> None:
        task = asyncio.create_task(run_periodically(step, "work", first=0, every=0, pause=0))
        while len(taken) < len(fails) + 2:
            await asyncio.sleep(0.001)
        task.cancel()

    with capture_logs() as lines:
        asyncio.run(run())
    told = [(line["event"].removeprefix("maintenance."), line["times"]) for line in lines]
    assert told == [
        ("failed", 1), ("failed", 31), ("failed", 41), ("recovered", 42), ("failed", 1),
        ("recovered", 1),
    ]  # fmt: skip
    assert {line["task"] for line in lines} == {"work"}


def test_a_running_server_prunes_by_itself(
    start_server: Callable[..., Server], sqlite_url: str
) -> None:
    """Soon after its start; what is young stays."""
    server = start_server(sqlite_url)
    old, young = account(email="old@b.example"), account(email="young@b.example")
    for who in (old, young):
        assert server.post(signed("signup", who, at=datetime.now(UTC))).status in (200, 204)
    server.stop()
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as file, file:
        file.execute(
            "UPDATE deliveries SET received_at = '2020-01-01 00:00:00.000000' WHERE sequence = 1"
        )
    start_server(sqlite_url)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"))) as file:
        for _ in range(200):
            (count,) = file.execute("SELECT count(*) FROM deliveries").fetchone()
            if count == 1:
                break
            time.sleep(0.1)
        left = file.execute("SELECT body FROM deliveries").fetchall()
    assert [json.loads(body)["user"]["email"] for (body,) in left] == ["young@b.example"]
