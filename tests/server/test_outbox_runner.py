"""The runner of consumers, with dispatchers of a test: what it begins, ends, counts and rests."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from msgspec.json import decode

from tests.server.waiting import until
from tests.store.store_support import LogLines
from tests.support import NOON, ROOT, clean_environment
from usher.core.domain.outbox import Change
from usher.core.errors import DatabaseError
from usher.core.outbox.consumer import Done
from usher.core.outbox.dispatcher import Turn
from usher.server import outbox_lease, outbox_process, outbox_runner
from usher.server.beside import LONGEST_REST_SECONDS
from usher.server.outbox import OutboxKeeper, Start
from usher.server.outbox_lease import own_lease
from usher.server.outbox_process import KnownHandlers
from usher.server.outbox_runner import LOOK_SECONDS, Runner, _Worker

SOME = Turn(handed_over=2, worked=True, known=5)
NONE = Turn(known=5)


class Named:
    """A consumer that no change reaches here."""

    patterns = frozenset("*")
    seconds = 1.0

    def __init__(self, name: str) -> None:
        self.name = name

    def hand_over(self, _: Change) -> Done:
        raise NotImplementedError


class Turns:
    """A dispatcher whose turns are laid down; the last one stays."""

    def __init__(self, *turns: Turn | Exception) -> None:
        self._turns = list(turns)
        self.taken = 0

    def turn(self) -> Turn:
        self.taken += 1
        turn = self._turns.pop(0) if len(self._turns) > 1 else self._turns[0]
        if isinstance(turn, Exception):
            raise turn
        return turn


def run(turns: dict[str, Turns], **options: Any) -> Runner:
    """A run, once, over these consumers."""
    consumers = [Named(name) for name in turns]
    runner = Runner(lambda: consumers, lambda each: turns[each.name], once=True, **options)
    runner.run(lambda: False)
    return runner


def test_once_ends_when_nothing_is_due() -> None:
    """Also for a new consumer, and where all that was tried failed."""
    turns = {
        "a": Turns(SOME, SOME, NONE),
        "b": Turns(Turn(more=True), NONE),
        "c": Turns(Turn(worked=True), SOME, NONE),
    }
    assert run(turns).handed_over == 6
    assert [each.taken for each in turns.values()] == [3, 2, 3]


def test_once_ends_with_the_first_error_of_ours() -> None:
    """The command says it."""
    runner = run({"a": Turns(SOME, NONE), "b": Turns(DatabaseError("away"))})
    assert (runner.handed_over, str(runner.failed)) == (2, "away")


def test_a_consumer_whose_turns_fail_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told once, tried again, and goes on."""
    monkeypatch.setattr(outbox_runner, "FAILED_SECONDS", 0.0)
    lines, end = LogLines(), Event()
    failing = Turns(DatabaseError("away"), RuntimeError("fault"), SOME, NONE)
    turns = {"failing": failing, "good": Turns(SOME, NONE)}
    runner = Runner(lambda: [Named(name) for name in turns], lambda each: turns[each.name])
    runner.run(lambda: end.is_set() or runner.handed_over == 4)
    told = [(line["consumer"], line["code"]) for line in lines("outbox.waits")]
    assert told == [("failing", "database_unavailable"), ("failing", "RuntimeError")]


def test_consumers_come_go_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As sinks are added, removed, paused and resumed; what was handed over counts on."""
    monkeypatch.setattr(outbox_runner, "LOOK_SECONDS", 0.0)
    made: list[str] = []
    steps: list[tuple[list[str], Callable[[], bool]]] = [
        (["a"], lambda: runner.handed_over == 2),
        (["a", "b"], lambda: runner.handed_over == 4),
        ([], lambda: not runner._workers),  # nor are they kept
        (["b"], lambda: runner.handed_over == 6),
        (["gone"], lambda: made.count("gone") == 2),
    ]

    def turns(each: Any) -> Turns:
        made.append(each.name)
        return Turns(Turn(gone="410")) if each.name == "gone" else Turns(SOME, NONE)

    def ends() -> bool:
        if steps[0][1]():
            steps.pop(0)
        return not steps

    runner = Runner(lambda: [Named(name) for name in steps[0][0]], turns)
    runner.run(ends)
    assert made == ["a", "b", "b", *["gone"] * made.count("gone")]


def test_it_rests_while_changes_come_in_and_not_while_it_drains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the time of the processor, and by how many consumers there are; an idle one looks on."""
    worker = _Worker(Named("a"), Turns(SOME, SOME, NONE), lambda: 3, once=False)
    spent = iter([1.0, 1.01, 2.0, 2.5, 3.0, 3.0])
    monkeypatch.setattr(worker, "_cpu_seconds", lambda: next(spent))
    assert [worker._turn() for _ in range(3)] == [pytest.approx(0.6), 0.0, LOOK_SECONDS]
    busy = _Worker(Named("a"), Turns(SOME), lambda: 3, once=False)
    spent = iter([0.0, 30.0])
    monkeypatch.setattr(busy, "_cpu_seconds", lambda: next(spent))
    assert busy._turn() == LONGEST_REST_SECONDS


def test_modules_that_cannot_be_used_are_told_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server needs no restart once they are mended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("AGAIN_SECONDS", "NEWEST_SECONDS"):
        monkeypatch.setattr(outbox_process, name, 0.0)
    lines, away, newest = LogLines(), [DatabaseError("away")], [5, 6]

    def look() -> int:
        if away:
            raise away.pop()
        return newest.pop(0)

    consumers = KnownHandlers(["site_hooks"], None, look)
    consumers.start()
    until(lambda: lines("outbox.no_handlers"))
    assert lines("outbox.no_handlers")[0]["detail"].startswith("There is no module site_hooks")
    assert (consumers(), consumers.begins_at) == ((), 5)
    text = "from usher import after\n@after('*', name='f')\ndef f(change): ...\n"
    Path("site_hooks.py").write_text(text)
    until(consumers)
    assert [each.name for each in consumers()] == ["handler:f"]
    assert newest == [6]
    until(lambda: lines("outbox.handlers"))
    assert [line["handlers"] for line in lines("outbox.handlers")] == [["handler:f"]]


HOLDER = """
import sys, time
from pathlib import Path
from usher.server.outbox_lease import own_lease
with own_lease(Path(sys.argv[1])) as lease:
    print(lease, flush=True)
    time.sleep(3600)
"""


def test_a_lease_lives_on_after_a_kill_and_is_held_by_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that starts again goes on at once; a second one has its own."""
    monkeypatch.setattr("usher.server.outbox_lease.WAIT_SECONDS", 0.0)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        try:
            assert holder.stdout is not None
            first = holder.stdout.readline().strip()
            with own_lease(tmp_path) as other:
                assert str(other) != first
        finally:
            os.kill(holder.pid, signal.SIGKILL)
    for folder, same in ((tmp_path, True), (tmp_path / "nowhere", False)):
        with own_lease(folder) as again:
            assert (str(again) == first) is same


def test_a_copied_folder_has_another_lease_and_so_has_a_shared_one_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers from one image, or on one volume, must not take each other's work for theirs."""
    folder, copy, boot = tmp_path / "spool", tmp_path / "copy", tmp_path / "boot_id"
    folder.mkdir()
    leases = []
    for _ in range(2):
        with own_lease(folder) as lease:
            leases.append(lease)
    shutil.copytree(folder, copy)
    boot.write_text(f"{uuid4()}\n")
    with own_lease(copy) as lease:
        leases.append(lease)
    monkeypatch.setattr(outbox_lease, "BOOT", boot)
    for text in (None, "no id", None):
        if text:
            boot.write_text(text)
        with own_lease(folder) as lease:
            leases.append(lease)
    assert leases[0] == leases[1]
    assert len(set(leases[1:])) == 5


def test_each_process_is_told_when_its_server_was_started() -> None:
    """A process that is started again does not count as one of a newer release."""
    start = Start(5, NOON)
    keeper = OutboxKeeper(None, start)
    told = [keeper.arguments(ended)[-1] for ended in ("", "was killed")]
    assert [decode(each, type=Start) for each in told] == [start, start]
