"""The keeper of a process beside a server, while that server forks its workers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from threading import Event
from typing import Any

import pytest

from tests.server.waiting import until
from usher.server import keeper
from usher.server.keeper import FORKS, Keeper


class Beside(Keeper):
    """Keeps a process that a test makes up."""

    def __init__(self) -> None:
        super().__init__(longest_wait_seconds=0.0)
        self.told: list[str] = []

    def arguments(self, ended: str) -> Sequence[str]:
        return ("module", ended)

    def tell(self, ended: str, wait_seconds: float) -> None:
        self.told.append(ended)


def test_no_worker_is_forked_while_a_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold the pipe to that process for as long as it lives, and the keeper with it."""
    started, may_go_on = Event(), Event()

    class Starting:
        def __init__(self, command: Sequence[str], **_: Any) -> None:
            self.command = command
            started.set()
            may_go_on.wait()

        def wait(self, _: float = 0.0) -> int:
            return 3

        def poll(self) -> int:
            return 3

        def terminate(self) -> None:
            """It has ended."""

    monkeypatch.setattr(keeper, "FIRST_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(keeper.subprocess, "Popen", Starting)  # type: ignore[attr-defined]
    kept = Beside()
    kept.start()
    started.wait()
    assert FORKS.locked()
    may_go_on.set()
    until(lambda: len(kept.told) > 1)
    assert kept.told[0] == "it ended with exit code 3"
    kept.close()
    assert not FORKS.locked()


def test_a_fork_leaves_the_lock_free_on_both_sides() -> None:
    """Both may start processes afterwards; ``subprocess`` itself is no such fork."""
    worker = os.fork()
    if not worker:
        os._exit(int(FORKS.locked()))
    assert os.waitpid(worker, 0)[1] == 0
    with FORKS:
        assert subprocess.run(["true"], check=False).returncode == 0
    assert not FORKS.locked()
