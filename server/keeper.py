"""Keepers: each keeps one process running beside a server, and starts it again when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from threading import Event, Lock, Thread
from time import monotonic
from typing import Final

from usher.server.beside import OUTGROWN

FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 300.0
STEADY_SECONDS: Final = 600.0
"""A process that lived so long was well: the next wait is a short one again."""
STOP_SECONDS: Final = 3.0
FORKS: Final = Lock()
"""Held while a process is started, and by each fork: a worker that is forked in between would keep
the pipe open at whose end ``subprocess`` learns that the process runs."""
os.register_at_fork(
    before=FORKS.acquire, after_in_parent=FORKS.release, after_in_child=FORKS.release
)


class Keeper(ABC):
    """Keeps a process running, until closed.

    Args:
        longest_wait_seconds: before a process that ended is started again.
    """

    def __init__(self, longest_wait_seconds: float = LONGEST_WAIT_SECONDS) -> None:
        self._longest_wait_seconds = longest_wait_seconds
        self._closed = Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._keep, name="keeper", daemon=True)

    @abstractmethod
    def arguments(self, ended: str) -> Sequence[str]:
        """Return the module of the process, and its arguments.

        Args:
            ended: how the last one ended; empty for the first.
        """

    @abstractmethod
    def tell(self, ended: str, wait_seconds: float) -> None:
        """Log that the process ended, and is started again in so many seconds."""

    def start(self) -> None:
        """Start, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """End the process."""
        self._closed.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        self._thread.join(STOP_SECONDS)

    def _keep(self) -> None:
        ended, wait = "", FIRST_WAIT_SECONDS
        while not self._closed.is_set():
            began = monotonic()
            try:
                code = self._run(ended)
            except OSError as error:  # no process to be had now
                ended = f"could not be started: {error.strerror}"
            else:
                ended = in_words(code)
            if self._closed.is_set():
                return
            if monotonic() - began > STEADY_SECONDS:
                wait = FIRST_WAIT_SECONDS
            self.tell(ended, wait)
            self._closed.wait(wait)
            wait = min(wait * 2, self._longest_wait_seconds)

    def _run(self, ended: str) -> int:
        with FORKS:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command(*self.arguments(ended)), stdin=subprocess.DEVNULL
            )
        if self._closed.is_set():
            self._process.terminate()
        return self._process.wait()


def command(module: str, *arguments: str) -> list[str]:
    """The command that runs one of our modules, whose first argument is the id of this process.

    Asked for its parent, one whose parent was killed while it started would get another one's id,
    and never notice.

    -P: a file queue.py in the working folder must not replace Python's.
    """
    return [sys.executable, "-P", "-m", module, str(os.getpid()), *arguments]


def in_words(code: int) -> str:
    """How a process ended, by its exit code."""
    if code == OUTGROWN:
        return "it needed more memory than it may have"
    if code == -signal.SIGALRM:
        return "it hung"
    if code < 0:
        return f"it was ended by signal {-code}"
    return f"it ended with exit code {code}"
