"""``kill -9`` of the master alone: its workers end with it, and the port is free."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from tests.support import ROOT, SECRET, WAIT_SECONDS, Server, account, clean_environment, signed
from usher.server import keeper

SECONDS = 30
"""Far more than the grace that a worker gives its requests; only a failure waits so long."""


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in text.split()]


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def ends(pids: list[int], seconds: float = SECONDS) -> bool:
    """Whether all of these processes end in time."""
    deadline = time.monotonic() + seconds
    while any(map(lives, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not any(map(lives, pids))


@pytest.mark.parametrize(
    "arguments",
    [
        ("outbox_process", "{{}}"),
        ("shadow_process", str(UUID(int=1)), "60", ""),
        ("handler_process", "{socket}", "", "hanging_hooks"),
    ],
)
def test_a_process_beside_a_server_ends_where_that_was_killed_while_it_started(
    sqlite_url: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """By the time it looks for its parent, that is another process already."""
    (tmp_path / "hanging_hooks.py").write_text("import time\ntime.sleep(3600)\n")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        module, *rest = (each.format(socket=theirs.fileno()) for each in arguments)
        command = keeper.command(f"usher.server.{module}", *rest)
        command[command.index(str(os.getpid()))] = "999999999"  # no process has so great an id
        variables = {"USHER_DATABASE_URL": sqlite_url, "USHER_WEBHOOK_SECRETS": SECRET.decode()}
        found = subprocess.Popen(
            command,
            cwd=tmp_path,
            env=clean_environment(PYTHONPATH=str(ROOT), **variables),
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
        try:
            assert found.wait(WAIT_SECONDS) in (0, -signal.SIGKILL)
        finally:
            found.kill()
            found.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("workers", [1, 3])
def test_d3_workers_end_with_their_master(
    start_server: Callable[..., Server], sqlite_url: str, workers: int, tmp_path: Path
) -> None:
    """The same port can be bound again at once, by a server with other secrets."""
    server = start_server(sqlite_url, "--workers", str(workers))
    found = children(server.process.pid)
    assert len(found) >= workers
    now = datetime.now(UTC)
    delivery = signed("signup", account(at=now), at=now)
    assert server.post(delivery).status == 200
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    assert ends(found)
    settings = {
        "USHER_DATABASE_URL": sqlite_url,
        "USHER_WEBHOOK_SECRETS": "another secret of thirty-two bytes",
    }
    again = Server(tmp_path, settings, port=server.port)
    try:
        assert again.post(delivery).status == 401
    finally:
        again.stop()


WATCHED = """
import multiprocessing, os, signal, sys, time
from usher.server import orphans

def work(stubborn):
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    orphans.GRACE_SECONDS = 1
    orphans.end_with_master()
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    started = [context.Process(target=work, args=(number == 1,)) for number in range(2)]
    [process.start() for process in started]
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_d3_a_worker_that_does_not_heed_the_signal_is_ended(tmp_path: Path, method: str) -> None:
    """Forked or spawned; one of the two ignores SIGTERM."""
    (tmp_path / "watched.py").write_text(WATCHED)
    master = subprocess.Popen(
        [sys.executable, str(tmp_path / "watched.py"), method],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        stdout=subprocess.PIPE,
    )
    assert master.stdout is not None
    found = [int(master.stdout.readline()) for _ in range(2)]
    master.kill()
    master.wait()
    master.stdout.close()
    assert ends(found)


def test_d3_without_a_master_nothing_is_watched() -> None:
    """A process that nobody started in this way goes on."""
    code = (
        "from usher.server.orphans import end_with_master; import threading;"
        "end_with_master(); print(threading.active_count())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1\n"
