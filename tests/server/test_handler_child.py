"""The process of a handler: whatever the handler does to it, the next change gets a good one."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.server.waiting import until
from tests.store.store_support import LogLines
from tests.support import NOON, ROOT
from usher import Change, Person, Write
from usher.core.domain.outbox import Kind
from usher.core.errors import HandlersError
from usher.core.outbox.consumer import Done, Failed, Result
from usher.server import handler_child
from usher.server.beside import NICE
from usher.server.handler_child import HandlerChild, list_handlers
from usher.server.handler_process import Described

HOOKS = """
import os, subprocess, sys, time
from pathlib import Path
from usher import Change, Write, after

HELD = []
CALLS = []

@after("*", seconds=SECONDS)
async def f(change: Change) -> Write | None:
    CALLS.append(change.id)
    what = change.user.email
    Path("pids").open("a").write(f"{os.getpid()}\\n")
    if what == "sleeps":
        subprocess.Popen(["sleep", "3600"])
        time.sleep(3600)
    if what == "raises":
        raise KeyError("k", change.user.email)
    if what == "exits":
        os._exit(3)
    if what == "grows":
        while True:
            HELD.append(bytearray(1 << 27))
    if what == "greets":
        print("Hello", change.user.user_metadata["name"])
    if what == "prints":
        print("first")
        sys.stderr.write("é" * 4_000_000)
        os.write(1, b"last\\n")
    if what == "forks" and os.fork() == 0:
        CALLS.append("a copy's")
        return Write(grant=["of a copy"])
    if what == "busy":
        end = time.process_time() + 0.2
        while time.process_time() < end: ...
    return Write(app_metadata={"calls": len(CALLS), "nice": os.nice(0)})
"""
Child = Callable[..., HandlerChild]


def change(what: str = "well", **metadata: object) -> Change:
    """A change of somebody, which tells the handler what to do."""
    user = Person(id=uuid4(), email=what, user_metadata=metadata)
    kind = Kind.USER_CONFIRMED
    return Change(id=f"chg_{uuid4().hex}", kind=kind, at=NOON, instance_id=uuid4(), user=user)


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Child]:
    """Make the only handler of a module in the working folder, in its process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    made: list[HandlerChild] = []

    def make(hooks: str = HOOKS, seconds: float = 30) -> HandlerChild:
        Path("site_hooks.py").write_text(hooks.replace("SECONDS", str(seconds)))
        described = Described("site_hooks.f", frozenset("*"), seconds, "site_hooks")
        made.append(HandlerChild(described))
        return made[-1]

    yield make
    for each in made:
        each.end()


def told(consumer: HandlerChild, what: Change) -> Result:
    """Hand over as a dispatcher does: started first, where need be."""
    return consumer.start() or consumer.hand_over(what)


def calls(result: object) -> object:
    """How many changes the process has had, by the answer."""
    assert isinstance(result, Done)
    assert result.write is not None
    return result.write.app_metadata["calls"]


def pids() -> list[int]:
    """The processes that had a change, in their order."""
    return [int(line) for line in Path("pids").read_text().split()]


def test_changes_are_answered_by_one_process_of_low_priority(child: Child) -> None:
    """Started at the first; the change arrives whole, and so does the Write."""
    consumer = child()
    assert list_handlers(["site_hooks"]) == (consumer.handler,)
    assert (consumer.name, consumer.patterns) == ("handler:site_hooks.f", {"*"})
    assert not Path("pids").exists()
    assert [calls(told(consumer, change())) for _ in range(3)] == [1, 2, 3]
    assert told(consumer, change(big=10**30, text="ü\u2028", n=[{"a": None}] * 50_000)) == Done(
        Write(app_metadata={"calls": 4, "nice": max(NICE, os.nice(0))})
    )
    told(consumer, change("busy"))
    assert consumer.cpu_seconds >= 0.2
    assert len(set(pids())) == 1


def test_a_copy_that_a_handler_forked_answers_nothing(child: Child) -> None:
    """Its answer would be the one to the next change, of somebody else."""
    consumer = child()
    people = ["forks", "well"] * 10
    assert [calls(told(consumer, change(what))) for what in people] == [*range(1, 21)]


@pytest.mark.parametrize(
    ("what", "error", "goes_on"),
    [
        ("raises", "KeyError: ('k', '[personal]') at site_hooks.py:18", True),
        ("exits", "its process is gone: it ended with exit code 3", False),
        ("grows", "needed more memory than it may have", False),
    ],
)
def test_after_a_failure_the_next_change_is_answered(
    what: str, error: str, goes_on: bool, child: Child
) -> None:
    """By the same process, or by a new one where it ended or has no memory left."""
    consumer = child()
    told(consumer, change())
    assert told(consumer, change(what)) == Failed(error)
    assert calls(told(consumer, change())) == (3 if goes_on else 1)


def test_a_handler_that_sleeps_for_ever_is_ended_at_its_limit_with_all_that_it_started(
    child: Child,
) -> None:
    """The next change gets a new process."""
    consumer = child(seconds=1)
    assert told(consumer, change("sleeps")) == Failed("was ended: it took longer than 1 s")
    until(lambda: not _group(pids()[0]))
    assert calls(told(consumer, change())) == 1


def _group(pid: int) -> bool:
    """Whether a session has a process."""
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_process_that_is_killed_between_changes_costs_none(child: Child) -> None:
    """Nobody asked it anything."""
    consumer = child()
    told(consumer, change())
    os.kill(pids()[0], signal.SIGKILL)
    until(lambda: not _group(pids()[0]) or not consumer._process.lives())  # type: ignore[union-attr]
    assert calls(told(consumer, change())) == 1


def test_megabytes_of_output_are_read_and_dropped(
    child: Child, capfd: pytest.CaptureFixture[str]
) -> None:
    """The log gets the first ones, line by line, and what was dropped is told with the next."""
    lines = LogLines()
    consumer = child()
    assert calls(told(consumer, change("prints"))) == 1
    until(lambda: consumer._process._output._dropped >= 8_000_000 - 16_384)  # type: ignore[union-attr]
    assert calls(told(consumer, change())) == 2
    said = capfd.readouterr().err
    assert said.startswith("[site_hooks.f] first\n")
    assert len(said.encode()) < 17_000
    [line] = lines("handler.output_cut")
    assert line["handler"] == "site_hooks.f"


def test_what_a_handler_prints_forges_no_line_of_the_log_and_commands_no_terminal(
    child: Child, capfd: pytest.CaptureFixture[str]
) -> None:
    """People choose their names, and handlers print them."""
    consumer = child()
    name = 'Ada\n{"event":"user.forged"}\x1b[31m\x9b2J\u2028\r{"event":"role.forged"}\té'
    assert calls(told(consumer, change("greets", name=name))) == 1
    consumer.close()
    said = ""

    def is_there() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return said.count("\n") == 2

    until(is_there)
    first, second, rest = said.split("\n")
    assert (first, rest) == ("[site_hooks.f] Hello Ada", "")
    forged = '{"event":"user.forged"}\ufffd[31m\ufffd2J\ufffd\ufffd{"event":"role.forged"}\té'
    assert second == f"[site_hooks.f] {forged}"


def test_an_idle_process_ends_by_itself(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is there again at the next change."""
    consumer = child()
    told(consumer, change())
    consumer.rest()
    assert consumer._process is not None
    monkeypatch.setattr(handler_child, "IDLE_SECONDS", -1.0)
    consumer.rest()
    consumer.rest()
    until(lambda: not _group(pids()[0]))
    assert calls(told(consumer, change())) == 1


def test_a_handler_that_cannot_be_started_is_not_tried_for_each_change(child: Child) -> None:
    """The failure is told for each, with what is wrong; a process is started every so often."""
    consumer = child()
    Path("site_hooks.py").write_text("1 / 0")
    error = "site_hooks cannot be imported: ZeroDivisionError: division by zero at site_hooks.py:1."
    assert told(consumer, change()) == Failed(error)
    Path("site_hooks.py").write_text("import os, usher\nos._exit(0)\n")
    assert told(consumer, change()) == Failed(error)
    consumer._retry_at = time.monotonic()
    found = told(consumer, change())
    assert isinstance(found, Failed)
    assert found.error.endswith("is gone: it ended with exit code 0.")
    Path("site_hooks.py").write_text(
        "from usher import after\n@after('*', name='g')\ndef f(_): ..."
    )
    consumer._retry_at = time.monotonic()
    assert told(consumer, change()) == Failed(
        "There is no handler site_hooks.f any more in site_hooks."
    )


def test_modules_that_hang_at_their_import_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their process is ended."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(handler_child, "START_SECONDS", 1)
    Path("hanging_hooks.py").write_text("import time\ntime.sleep(3600)\n")
    with pytest.raises(HandlersError, match="hanging_hooks: not imported within 1 s"):
        list_handlers(["hanging_hooks"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere"))
    with pytest.raises(HandlersError, match="No process could be started: No such file"):
        list_handlers(["hanging_hooks"])


def test_a_process_whose_parent_is_killed_ends_though_its_handler_sleeps(
    child: Child, tmp_path: Path
) -> None:
    """Nothing is left of a server that is gone."""
    described = child().handler
    runner = os.fork()
    if not runner:  # as the process that runs handlers, until it is killed
        consumer = HandlerChild(described)
        told(consumer, change("sleeps"))
        os._exit(0)
    until(lambda: Path("pids").exists() and pids())
    os.kill(runner, signal.SIGKILL)
    os.waitpid(runner, 0)
    until(lambda: not _group(pids()[0]))
