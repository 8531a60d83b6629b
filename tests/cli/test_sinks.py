"""``usher sinks``: added, tried, rotated, paused, removed."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.conftest import Program
from tests.receivers import Receiver
from usher.core.domain.standard_webhooks import secret_octets, secret_text

URL = "https://crm.example/hooks/1"
OWN = secret_text(bytes(range(32)))


def test_a_sink_is_added_listed_and_shown_with_its_secret_told_once(on_both: Program) -> None:
    """The secret alone is on standard output, ready for a pipe; what to do next beside it."""
    result = on_both("sinks", "add", URL, "--changes", "user.*", "--changes", "role.granted")
    secret = result.stdout.strip()
    assert len(secret_octets(secret)) == 32
    (sink,) = on_both.json("sinks", "list")["sinks"]
    assert sink["id"] in result.stderr
    assert (sink["changes"], sink["full"]) == (["role.granted", "user.*"], False)
    assert on_both.json("sinks", "show", sink["id"]) == sink
    for words in (on_both("sinks", "list").stdout, on_both("sinks", "show", sink["id"]).stdout):
        assert URL in words
        assert "active" in words
        assert "role.granted, user.*" in words
        assert secret not in words


def test_a_secret_of_ones_own_comes_from_a_file(program: Program, tmp_path: Path) -> None:
    """Or from standard input: never from the command line, which others can see."""
    (tmp_path / "own").write_text(f"{OWN}\n")
    made = program.json("sinks", "add", URL, "--full", "--secret-file", "own")
    assert (made["secret"], made["full"], made["changes"]) == (OWN, True, ["*"])
    other = secret_text(bytes(32))
    rotate = ("sinks", "rotate", made["id"], "--secret-file", "-")
    assert program(*rotate, input=other).stdout == f"{other}\n"
    assert "A secret begins with whsec_" in program(*rotate, input="hunter2", code=1).output


def test_a_secret_is_rotated_and_both_sign_for_a_day(program: Program) -> None:
    """With --now the old one does not; standard error says which."""
    made = program.json("sinks", "add", URL)
    result = program("sinks", "rotate", made["id"])
    assert result.stdout.strip() not in ("", made["secret"])
    assert "The old one signs for 24 hours." in result.stderr
    assert "signs until" in program("sinks", "show", made["id"]).stdout
    assert "No other one signs any more." in program("sinks", "rotate", made["id"], "--now").stderr
    assert "signs until" not in program("sinks", "show", made["id"]).stdout
    assert program.json("sinks", "rotate", made["id"])["old_secret_until"]


def test_a_sink_is_paused_resumed_and_removed(program: Program) -> None:
    """Each act is in the audit, by the host of the receiver."""
    program.sign_up("ada@example.com")
    made = program.json("sinks", "add", URL)
    sink = made["id"]
    assert "is paused" in program("sinks", "pause", sink, "--reason", "they move").stdout
    assert "by cli:operator" in program("sinks", "show", sink).stdout
    assert "gets changes again" in program("sinks", "resume", sink).stdout
    assert program.json("sinks", "pause", sink)["state"] == "paused"
    assert program.json("sinks", "resume", sink)["state"] == "active"
    assert "is removed" in program("sinks", "remove", sink).stdout
    assert "No sinks yet" in program("sinks", "list").stdout
    audit = program("audit", "--action", "sink.paused").stdout
    assert f"sink crm.example ({sink})" in audit
    assert "they move" in audit


def test_a_receiver_is_tried(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one's own network without TLS; exit code 1 where the webhook was not delivered."""
    with Receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/hook"
        refused = program("sinks", "add", url, code=1)
        assert "USHER_SINK_NETWORKS" in refused.output
        monkeypatch.setenv("USHER_SINK_NETWORKS", "127.0.0.0/8")
        sink = program.json("sinks", "add", url)["id"]
        assert "the receiver answered 204" in program("sinks", "test", sink).stdout
        receiver.answers = [(500, {}), (500, {})]
        assert "Not delivered: answered 500." in program("sinks", "test", sink, code=1).stderr
        trial = program.json("sinks", "test", sink, code=1)
        assert (trial["delivered"], trial["status"]) == (False, 500)
        monkeypatch.delenv("USHER_SINK_NETWORKS")
        trial = program.json("sinks", "test", sink, code=1)
        assert trial["problem"] == "the address is not in USHER_SINK_NETWORKS, which http:// needs"
        assert len(receiver.came) == 3


def test_a_sink_that_is_not_there(program: Program) -> None:
    """Or is no id at all."""
    for command in ("show", "test", "rotate", "pause", "resume", "remove"):
        assert "No sink has the id" in program("sinks", command, str(uuid4()), code=1).output
        assert "as `usher sinks list` shows" in program("sinks", command, URL, code=1).output


def test_a_kind_that_does_not_exist_is_told_with_those_that_do(program: Program) -> None:
    """In one sentence."""
    result = program("sinks", "add", URL, "--changes", "user.eaten", code=1)
    assert "There is no kind of change 'user.eaten', but: user.created" in result.output
