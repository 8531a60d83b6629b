"""Captures that somebody else made, as one meets them: nothing is believed that can be checked."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Program
from tests.stub import serving
from tests.support import account, call, signed
from usher.core.captures.format import SIGNATURE
from usher.core.jws import PUBLIC_SECRET, sign_event
from usher.emulator.payload import ZERO_INSTANCE


@pytest.fixture
def capture(program: Program) -> dict[str, Any]:
    """One of a signup."""
    program.sign_up("ada@example.com")
    found: dict[str, Any] = json.loads(program("events", "export").stdout)
    return found


def test_g1_a_path_that_names_a_host_is_sent_nowhere(
    program: Program, capture: dict[str, Any], tmp_path: Path
) -> None:
    """Neither to that host nor to ours; the line is told."""
    with serving(lambda *_: (204, {}, b"")) as thief, serving(lambda *_: (204, {}, b"")) as ours:
        path = f"@{thief.url.removeprefix('http://')}/x"
        (tmp_path / "a.jsonl").write_text(json.dumps(capture | {"path": path}) + "\n")
        for command in (["replay", "--to", ours.url], ["replay"], ["events", "import"]):
            said = program(*command, str(tmp_path / "a.jsonl"), code=1).stderr
            assert "line 1: path must begin with /" in said
        odd = "/a?b#c@d e"
        headers = capture["headers"] | {"Host": "evil.example", "Cookie": "a=b"}
        (tmp_path / "a.jsonl").write_text(
            json.dumps(capture | {"path": odd, "headers": headers}) + "\n"
        )
        program("replay", "--to", ours.url, str(tmp_path / "a.jsonl"))
    assert thief.requests == []
    for path, sent, _ in ours.requests[-1:]:
        assert path == "/a%3Fb%23c%40d%20e"
        assert sent["host"] == ours.url.removeprefix("http://")
        assert "cookie" not in sent


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "0" * 72}, "id does not fit"),
        ({"body_digest": "0" * 64}, "body_digest is not"),
        ({"event": "login"}, "event and user_id"),
    ],
)
def test_g2_an_import_is_checked_line_by_line(
    program: Program, capture: dict[str, Any], tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    """What a file says of a body must fit the body."""
    wrong = capture | {"decided": capture["decided"] | change}
    (tmp_path / "a.jsonl").write_text(f"\ufeff{json.dumps(capture)}\n{json.dumps(wrong)}\n")
    assert f"line 2: decided: {said}" in program(
        "events", "import", str(tmp_path / "a.jsonl"), code=1
    ).stderr  # fmt: skip


def test_g2_a_time_beyond_every_calendar_is_told(
    program: Program, capture: dict[str, Any], tmp_path: Path
) -> None:
    """Not a traceback."""
    signature = sign_event(capture["body"].encode(), ZERO_INSTANCE, 10**30, PUBLIC_SECRET)
    (tmp_path / "a.jsonl").write_text(
        json.dumps(capture | {"headers": capture["headers"] | {SIGNATURE: signature}}) + "\n"
    )
    said = program("events", "import", str(tmp_path / "a.jsonl"), code=1).stderr
    assert "line 1: " in said
    assert "out of range" in said
    program("replay", str(tmp_path / "a.jsonl"), code=1)


def test_g2_an_array_is_named(program: Program, capture: dict[str, Any], tmp_path: Path) -> None:
    """By every command that takes captures."""
    (tmp_path / "a.json").write_text(json.dumps([capture]))
    for command in (["replay"], ["events", "import"]):
        assert "JSON array" in program(*command, str(tmp_path / "a.json"), code=1).stderr


def test_g2_an_act_that_says_nothing_of_use_is_told(program: Program, tmp_path: Path) -> None:
    """Whatever is in it, and the steps after it are played."""
    act = {
        "usher_act": 1, "at": "2026-11-23T12:00:00Z", "actor": "a", "action": "b", "reason": "",
        "instance_id": str(ZERO_INSTANCE), "user_id": str(ZERO_INSTANCE), "before": None,
    }  # fmt: skip
    after: list[dict[str, Any]] = [
        {"roles": 1}, {"roles": {"a": 1}}, {"roles": {"a": {"nobody": {}}}}, {"email": 5},
        {"roles": {"a": {"policy": {"is": "grant", "reason": "", "until": "soon"}}}},
    ]  # fmt: skip
    lines = "".join(json.dumps(act | {"after": each}) + "\n" for each in after)
    (tmp_path / "a.jsonl").write_text(lines)
    done = program.json("replay", str(tmp_path / "a.jsonl"), code=1)
    assert (done["played"], done["failed"]) == (len(after), len(after))


def test_g2_a_made_up_answer_reaches_no_delivery_to_come(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sqlite_template: Path
) -> None:
    """A file that foresees an event, well formed in all, changes neither answer nor record."""
    now = datetime.now(UTC)
    delivery = signed("signup", account(email="eve@example.com", at=now), at=now)
    with program.app():
        genuine = call(delivery)
    line = json.loads(program("events", "export").stdout)
    made_up = {"app_metadata": {"roles": ["admin"]}}
    line["answer"] |= {"status": 200, "content_type": "application/json"}
    line["answer"]["body"] = json.dumps(made_up)
    (tmp_path / "a.jsonl").write_text(json.dumps(line) + "\n")
    (tmp_path / "fresh.db").write_bytes(sqlite_template.read_bytes())
    monkeypatch.setenv("USHER_DATABASE_URL", f"sqlite:///{tmp_path / 'fresh.db'}")
    assert program.json("events", "import", str(tmp_path / "a.jsonl"))["imported"] == 1
    assert [e["key_index"] for e in program.json("events", "list")["events"]] == [-1]
    for _ in range(2):
        with program.app():
            assert call(delivery) == genuine
    [kept] = program.json("events", "list")["events"]
    assert (kept["origin"], kept["key_index"]) == ("live", 0)
    assert kept["reply"]["body"] == genuine["body"]
    [user] = program.json("users", "list")["users"]
    assert "admin" not in user["roles"]
    known = program.json("events", "import", str(tmp_path / "a.jsonl"))
    assert (known["imported"], known["known"]) == (0, 1)
    assert program.json("events", "list")["events"] == [kept]
