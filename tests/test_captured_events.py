"""The captured events of tests/captures, replayed with the plugin as any project would."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.captures.make import HERE, written
from usher.core.captures.format import read_line
from usher.core.domain.events import EventName
from usher.core.strict_json import loads_object
from usher.testing.pytest_plugin import Checked

POLICY = HERE / "policy.toml"


@pytest.mark.captures("captures/*.jsonl")
def test_captured_events_are_answered_as_approved(
    usher_replay: Callable[..., Checked], capture_file: Path
) -> None:
    """Every answer, and what the user was afterwards."""
    usher_replay(capture_file, policy=POLICY).approved()


@pytest.mark.captures("captures/*.jsonl")
def test_captures_replay_alike_on_postgresql(
    usher_replay: Callable[..., Checked], capture_file: Path, postgresql_url: str
) -> None:
    """The same golden files."""
    done = usher_replay(capture_file, policy=POLICY, database_url=postgresql_url)
    assert done.replayed.differences() == []


def test_the_captures_are_what_is_written_down() -> None:
    """Files and ``make.py`` agree."""
    files = {path.name: path.read_text(encoding="utf-8") for path in HERE.glob("*.jsonl")}
    assert files == written()


def test_the_captures_cover_what_identity_sends() -> None:
    """At least 60 deliveries, every event, every provider."""
    counted: Counter[str] = Counter()
    text = "".join(written().values())
    for line in text.splitlines():
        if '"usher_capture"' in line:
            body = read_line(line.encode()).body or b""
            try:
                counted[loads_object(body)["event"]] += 1
            except ValueError:
                counted["unreadable"] += 1
    assert counted.total() >= 60
    assert all(counted[name.value] >= 3 for name in EventName)
    for provider in ("email", "google", "github", "gitlab", "bitbucket", "facebook"):
        assert f'\\"provider\\":\\"{provider}\\"' in text
