"""The server process of ``usher dev``, which never outlives the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import IO, Final

import click
import urllib3

from usher.cli.dev.server import STOP_SECONDS

READY_SECONDS: Final = 60
GRACE_SECONDS: Final = 2
PATIENCE_SECONDS: Final = 1
_COMMAND: Final = """
import sys
sys.path[:] = sys.argv[1:]
from usher.cli.dev.server import main
main()
"""
"""Gives the server our ``sys.path``; ``python -m`` would put the working folder first."""
_INFO: Final = b'"level":"info"'
_WARNING: Final = b'"level":"warning"'


class Server:
    """Runs one server after another on the same port.

    Args:
        url: of the server.
        variables: added to our environment for the server.
    """

    def __init__(self, url: str, variables: dict[str, str]) -> None:
        self._url = url
        self._variables = variables
        self._process: subprocess.Popen[bytes] | None = None
        self._hidden: tuple[bytes, ...] = ()

    @property
    def runs(self) -> bool:
        """Whether a server process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> bool:
        """Start the server; return whether it answers. If not, it has printed the reason."""
        with self._without(_INFO):  # the guide comes first
            return self._start()

    def _start(self) -> bool:
        self._process = subprocess.Popen(  # noqa: S603 - this Python, and where it finds modules
            [sys.executable, "-c", _COMMAND, *sys.path],
            env=os.environ | self._variables,
            stdin=subprocess.PIPE,  # the server ends when this closes, however we end
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches us only, and we stop it
        )
        output = threading.Thread(target=self._pass_on, args=(self._process.stderr,), daemon=True)
        output.start()
        deadline = time.monotonic() + READY_SECONDS
        with urllib3.PoolManager(retries=False, timeout=5) as pool:
            while self.runs and time.monotonic() < deadline:
                with suppress(urllib3.exceptions.HTTPError):
                    if pool.request("GET", f"{self._url}/healthz").status == 200:
                        return True
                time.sleep(0.02)
        self.stop()
        output.join(GRACE_SECONDS)  # its error is printed before anything of ours
        return False

    def stop(self) -> None:
        """Stop the server and all its processes. Requests under way get a few seconds.

        Raises:
            KeyboardInterrupt: Ctrl-C ended the wait; its processes are killed all the same.
        """
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            if not _ends(process, PATIENCE_SECONDS):
                click.echo("Still finishing what is under way. Ctrl-C ends it at once.")
                _ends(process, STOP_SECONDS + GRACE_SECONDS)
        finally:
            with suppress(ProcessLookupError):  # as it should be: all are gone
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                process.stdin.close()

    def quietly(self) -> AbstractContextManager[None]:
        """Show only errors of its log meanwhile; other lines would hide a progress bar."""
        return self._without(_INFO, _WARNING)

    @contextmanager
    def _without(self, *kinds: bytes) -> Iterator[None]:
        self._hidden = kinds
        try:
            yield
        finally:
            self._hidden = ()

    def _pass_on(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                if not any(kind in line for kind in self._hidden):
                    sys.stderr.write(line.decode(errors="replace"))
                    sys.stderr.flush()


def _ends(process: subprocess.Popen[bytes], seconds: float) -> bool:
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.poll() is not None
