"""``usher replay --to``: captured events to a running server, signed anew, in their order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cli.conftest import Program
from tests.stub import serving
from tests.support import SECRET, Server
from usher.cli.replay_http import BACK_SECONDS, FreshTimes
from usher.core.jws import verify_event

OLD = datetime(2026, 1, 5, 9, tzinfo=UTC)


@pytest.fixture
def capture(program: Program, tmp_path: Path) -> Path:
    """Ada signs up twice (a retry), logs in and gets a new name; Eve is refused."""
    ada = program.deliver("signup", "ada@example.com")
    program.deliver("login", "ada@example.com", user_id=ada)
    program.deliver(
        "usermodified", "ada@example.com", user_id=ada, user_metadata={"full_name": "A"}
    )
    program.deliver("signup", "eve@mailinator.com")
    lines = [json.loads(line) for line in program("events", "export").stdout.splitlines()]
    old = [line | {"received_at": "2026-01-05T09:00:00Z"} for line in lines]
    path = tmp_path / "old.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in [old[0], *old]))
    return path


def test_a_capture_is_replayed_to_a_running_server(
    program: Program,
    capture: Path,
    start_server: Callable[..., Server],
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Same answers, same users, twice as once; the other side's ledger marks what was replayed."""
    was = program.json("users", "list")["users"]
    fresh = tmp_path / "fresh.db"
    shutil.copy(sqlite_template, fresh)
    monkeypatch.setenv("USHER_DATABASE_URL", f"sqlite:///{fresh}")
    server = start_server(f"sqlite:///{fresh}")
    for _ in range(2):
        done = program.json("replay", str(capture), "--to", server.url, "--diff", code=(0, 1))
        assert (done["played"], done["failed"], done["wrong"]) == (5, 0, 0)
        assert done["differences"] == []
    program("replay", str(capture), "--to", server.url, "--rate", "1000")
    now = program.json("users", "list")["users"]
    essence = [[u[k] for k in ("id", "email", "roles", "status", "user_metadata")] for u in was]
    assert essence == [
        [u[k] for k in ("id", "email", "roles", "status", "user_metadata")] for u in now
    ]
    events = program.json("events", "list", "--limit", "100")["events"]
    assert {event["origin"] for event in events} == {"replay"}
    fresh_enough = program.json("replay", str(capture), "--to", server.url, "--at-recorded-time")
    assert fresh_enough == {"played": 5, "failed": 0, "wrong": 0, "differences": []}


def test_the_signature_says_that_it_is_a_replay(
    program: Program, capture: Path, clock: Any
) -> None:
    """Signed with the newest secret, with our claim; what cannot be sent is told."""
    lines = [json.loads(line) for line in capture.read_text().splitlines()]
    erased = lines[1] | {"body": None}
    capture.write_text(json.dumps(lines[1]) + "\n" + json.dumps(erased) + "\n")
    with serving(lambda *_: (204, {}, b"")) as stub:
        done = program("replay", str(capture), "--to", stub.url, code=1)
        program("replay", str(capture), "--to", stub.url + "/one", "--until", "2026-01-01")
    assert "the body was erased, so there is nothing to send" in done.stderr
    [(path, headers, body)] = stub.requests
    assert path == lines[1]["path"]
    claims = verify_event(
        [headers["x-webhook-signature"]], body, [SECRET], datetime.now(UTC).timestamp()
    )
    assert claims.replayed
    assert body.decode() == lines[1]["body"]


@pytest.mark.parametrize(
    ("to", "said"),
    [
        ("nonsense", "is not an address"),
        ("ftp://127.0.0.1", "is not an address"),
        ("http://127.0.0.1:9", "gave no answer in 3 attempts"),
    ],
)
def test_a_target_that_is_none_is_told(program: Program, capture: Path, to: str, said: str) -> None:
    """One sentence, exit code 1."""
    assert said in program("replay", str(capture), "--to", to, code=1).stderr


def test_a_failing_target_ends_the_replay(program: Program, capture: Path) -> None:
    """After three attempts."""
    with serving(lambda *_: (503, {}, b"")) as stub:
        result = program("replay", str(capture), "--to", stub.url, code=1)
    assert "gave no answer in 3 attempts (status 503)" in result.stderr
    assert len(stub.requests) == 3


@pytest.mark.parametrize(
    "options",
    [
        ["--to", "http://127.0.0.1:1", "--dry-run"],
        ["--rate", "5"],
        ["--at-recorded-time"],
        ["--to", "http://127.0.0.1:1", "--rate", "0"],
        ["--since", "soon"],
    ],
)
def test_options_that_contradict_are_wrong_usage(
    program: Program, capture: Path, options: list[str]
) -> None:
    """Exit code 2."""
    program("replay", str(capture), *options, code=2)


class _Wall:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def __call__(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += seconds


@given(st.lists(st.integers(0, 20), max_size=25))
def test_fresh_times_keep_the_order_and_the_retries(recorded: list[int]) -> None:
    """Whatever was issued later is later, what was issued at one time is at one time."""
    wall = _Wall()
    times = FreshTimes(wall, wall.sleep)
    user = str(uuid4())
    newest: dict[int, int] = {}
    for each in recorded:
        made = times.issued_at(user, each)
        assert wall.at - BACK_SECONDS - 1 <= made <= wall.at + 60
        later = [was for other, was in newest.items() if other > each]
        assert all(made <= was for was in later)
        if not later:
            assert all(made > was for other, was in newest.items() if other < each)
            assert newest.get(each, made) == made
            newest[each] = made


def test_more_events_than_seconds_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never ahead of what the target accepts; users come and go without growing the memory."""
    monkeypatch.setattr("usher.cli.replay_http.USERS_KEPT", 2)
    wall = _Wall()
    times = FreshTimes(wall, wall.sleep)
    made = [times.issued_at("one", each) for each in range(400)]
    assert made == sorted(set(made))
    assert wall.at > 1_000_100
    assert all(times.issued_at(str(user), 5) for user in range(10))
