"""The loop of ``usher dev``, told to stop at moments that a real process meets once in a while."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from usher.cli.dev import supervise
from usher.cli.dev.process import Server


class Dying:
    """As it is destroyed, this process is told to stop."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The exceptions that Python dropped."""
    found: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda given: found.append(given.exc_type))
    return found


@pytest.mark.parametrize(
    ("moment", "reached"),
    [
        ("start", ["start"]),
        ("first", ["start", "first", "look"]),
        ("look", ["start", "first", "look"]),
    ],
)
def test_a_stop_that_a_destructor_swallowed_is_heeded(
    moment: str,
    reached: list[str],
    lost: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A closing pool of connections is such a one, right after the guide of a seed."""
    done: list[str] = []

    def at(here: str) -> None:
        done.append(here)
        if here == moment:
            Dying()

    class Silent(Server):
        """Starts no process."""

        def start(self) -> bool:
            at("start")
            return True

        def stop(self) -> None:
            done.append("stop")

    class Unchanged:
        """Files that nobody changes; somebody looks at them three times."""

        def changes(self) -> Iterator[list[Path]]:
            yield []
            at("look")
            yield []
            yield []

    monkeypatch.setattr(supervise, "Server", Silent)
    monkeypatch.setattr(supervise, "Watched", Unchanged)
    supervise.supervise("http://127.0.0.1:1", "{}", lambda: at("first"))
    assert lost == [KeyboardInterrupt]
    assert capsys.readouterr().out == "Stopped.\n"
    assert done == ["stop", *reached, "stop"]
