"""Log lines of a command: JSON for programs, words for a person, and never the two mixed."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from usher.cli.environment import log_for_command
from usher.core import log


class Stream(io.StringIO):
    """Standard error that is a terminal, or none."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        """As it was told."""
        return self._terminal


def written(monkeypatch: pytest.MonkeyPatch, level: int, *, terminal: bool) -> list[str]:
    """What a line of each level comes to."""
    stream = Stream(terminal=terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    log_for_command(level)
    try:
        log.get_logger().info("event.applied", user_id="u")
        log.get_logger().warning("push.failed", user_id="u", code="x", where=["a.py:1"])
        log.get_logger().error("request.failed", detail="\x1b[5mred\n{}", times=2)
    finally:
        monkeypatch.undo()
        log.configure()
    return stream.getvalue().splitlines()


def test_h7_on_a_terminal_a_command_logs_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is wrong; nothing in a value steers the terminal or begins a line."""
    assert written(monkeypatch, logging.INFO, terminal=True) == [
        "warning: push.failed user_id='u' code='x'",
        "error: request.failed detail='\\x1b[5mred\\n{}' times=2",
    ]
    assert len(written(monkeypatch, logging.ERROR, terminal=True)) == 1


def test_h7_for_a_program_every_line_is_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the server writes them."""
    lines = [json.loads(line) for line in written(monkeypatch, logging.INFO, terminal=False)]
    assert [line["level"] for line in lines] == ["info", "warning", "error"]
    assert all(line["timestamp"] for line in lines)
    assert len(written(monkeypatch, logging.WARNING, terminal=False)) == 2
