"""The keeper of the shadow policy's process: one beside each server, restarted when it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from threading import Event, Thread
from time import monotonic
from typing import Final
from uuid import uuid4

from usher.core.log import get_logger
from usher.server.shadow_process import OUTGROWN

HANG_SECONDS: Final = 60
"""Longest time for one delivery, or for a look at the database: a busy machine is no hang."""
FIRST_WAIT_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 300.0
STEADY_SECONDS: Final = 600.0
"""A process that lived so long was well: the next wait is a short one again."""
STOP_SECONDS: Final = 3.0


class ShadowKeeper:
    """Keeps a process of the shadow policy running, until closed.

    Args:
        hang_seconds: see ``HANG_SECONDS``.
        longest_wait_seconds: before a process that ended is started again.
    """

    def __init__(
        self,
        hang_seconds: int = HANG_SECONDS,
        longest_wait_seconds: float = LONGEST_WAIT_SECONDS,
    ) -> None:
        self._hang_seconds = hang_seconds
        self._longest_wait_seconds = longest_wait_seconds
        self._lease = uuid4()
        self._closed = Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = Thread(target=self._keep, name="shadow", daemon=True)

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
                ended = _in_words(code)
            if self._closed.is_set():
                return
            if monotonic() - began > STEADY_SECONDS:
                wait = FIRST_WAIT_SECONDS
            get_logger().error("shadow.ended", detail=ended, wait_seconds=wait)
            self._closed.wait(wait)
            wait = min(wait * 2, self._longest_wait_seconds)

    def _run(self, ended: str) -> int:
        # -P: a file queue.py in the working folder must not replace Python's.
        command = [sys.executable, "-P", "-m", "usher.server.shadow_process"]
        options = [str(self._lease), str(self._hang_seconds), ended]
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [*command, *options], stdin=subprocess.DEVNULL
        )
        if self._closed.is_set():
            self._process.terminate()
        return self._process.wait()


def _in_words(code: int) -> str:
    if code == OUTGROWN:
        return "it needed more memory than it may have"
    if code == -signal.SIGALRM:
        return "it hung"
    if code < 0:
        return f"it was ended by signal {-code}"
    return f"it ended with exit code {code}"
