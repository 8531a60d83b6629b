"""A handler as a consumer: the process that runs it, started at its first change.

The process ends where it is idle, and is ended where a change takes it longer than it may. Nothing
that the handler does to it reaches anybody else.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread
from time import monotonic
from typing import IO, Final, TypeVar, cast

from msgspec import DecodeError
from msgspec.json import decode, encode

from usher.core.domain.outbox import HANDLER, Change
from usher.core.errors import HandlersError
from usher.core.log import get_logger
from usher.core.outbox.consumer import Done, Failed
from usher.server.handler_process import Answer, Described, Loaded
from usher.server.keeper import command, in_words

START_SECONDS: Final = 60
"""For the import of the modules, on a machine that is busy: such a process has a low priority."""
IDLE_SECONDS: Final = 60.0
"""A process without a change for so long ends."""
RETRY_SECONDS: Final = 5.0
"""A process that cannot be started is not tried for each change."""
STOP_SECONDS: Final = 2.0
EXIT_SECONDS: Final = 0.5
"""From the end of a process's socket to that of the process itself."""
OUTPUT_BYTES: Final = 16 * 1024
"""So much of what a handler prints for one change reaches the log; the rest is dropped."""
LINE_BYTES: Final = 4_000
_ANSWER_BYTES: Final = 4 * 1024 * 1024
T = TypeVar("T")


class HandlerChild:
    """A handler in a process of its own; see ``usher.core.outbox.consumer.Consumer``.

    Its process imports the handler's module alone.

    Args:
        described: as ``list_handlers`` returned it.

    Attributes:
        cpu_seconds: the time of the processor that changes have taken so far.
    """

    def __init__(self, described: Described) -> None:
        self.handler = described
        self.cpu_seconds = 0.0
        self._process: _Process | None = None
        self._used_at = 0.0
        self._problem, self._retry_at = "", 0.0

    @property
    def name(self) -> str:
        """As handlers are named among consumers."""
        return HANDLER + self.handler.name

    @property
    def patterns(self) -> frozenset[str]:
        """The kinds of changes that it is for."""
        return self.handler.patterns

    @property
    def seconds(self) -> float:
        """The longest time for a change, once the process runs."""
        return self.handler.seconds

    def start(self) -> Failed | None:
        """Start the process, unless it runs, or could not be started a moment ago."""
        if self._process is not None and self._process.lives():
            return None
        self.end()
        if monotonic() >= self._retry_at:
            try:
                self._process, _ = _start(self.handler.name, [self.handler.module])
            except HandlersError as error:
                self._problem = " ".join(error.problems)
                self._retry_at = monotonic() + RETRY_SECONDS
        return None if self._process else Failed(self._problem)

    def hand_over(self, change: Change) -> Done | Failed:
        """Hand over one change to the process that was started, and wait for the answer."""
        process = self._process
        if process is None:
            return Failed("its process was not started")
        seconds = self.handler.seconds
        try:
            answer = process.ask(encode(change), seconds)
        except TimeoutError:
            self.end()
            return Failed(f"was ended: it took longer than {seconds:g} s")
        except (OSError, DecodeError):
            return Failed(f"its process is gone: {self.end(EXIT_SECONDS)}")
        self._used_at = monotonic()
        self.cpu_seconds += answer.cpu_seconds
        if answer.ends:
            self.end(EXIT_SECONDS)
        return Failed(answer.error) if answer.error else Done(answer.write)

    def rest(self) -> None:
        """End an idle process."""
        if monotonic() - self._used_at > IDLE_SECONDS:
            self.close()

    def close(self) -> None:
        """End the process, between two changes."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def end(self, wait: float = 0.0) -> str:
        """End the process, unless it ends by itself within so many seconds; return how it ended."""
        process, self._process = self._process, None
        return process.end(wait) if process else ""


def list_handlers(modules: Sequence[str]) -> tuple[Described, ...]:
    """The handlers of the modules, which a process of its own imports.

    Raises:
        HandlersError: they cannot be used, or their import ends the process.
    """
    process, handlers = _start("", modules)
    process.close()
    return handlers


def handlers_of(modules: Sequence[str]) -> list[HandlerChild]:
    """The handlers of the modules as consumers; none of their processes runs yet.

    Raises:
        HandlersError: as ``list_handlers``.
    """
    return [HandlerChild(each) for each in list_handlers(modules)] if modules else []


def _start(name: str, modules: Sequence[str]) -> tuple[_Process, tuple[Described, ...]]:
    try:
        process = _Process(name, modules)
    except OSError as error:
        raise HandlersError((f"No process could be started: {error.strerror}.",)) from None
    try:
        loaded = process.hear(Loaded, START_SECONDS)
    except TimeoutError:
        process.end()
        problem = f"{', '.join(modules)}: not imported within {START_SECONDS} s."
        raise HandlersError((problem,)) from None
    except (OSError, DecodeError):
        problem = f"{', '.join(modules)}: the process that imports this is gone"
        raise HandlersError((f"{problem}: {process.end(EXIT_SECONDS)}.",)) from None
    problems = loaded.problems
    if name and not problems and name not in {each.name for each in loaded.handlers}:
        problems = (f"There is no handler {name} any more in {modules[0]}.",)
    if problems:
        process.close()
        raise HandlersError(problems)
    return process, loaded.handlers


class _Process:
    """A running ``usher.server.handler_process``, and the socket to it."""

    def __init__(self, name: str, modules: Sequence[str]) -> None:
        self._channel, theirs = socket.socketpair()
        self._rest = b""
        with theirs:
            number = theirs.fileno()
            try:
                self._popen = subprocess.Popen(  # noqa: S603 - our own module
                    command("usher.server.handler_process", str(number), name, *modules),
                    pass_fds=(number,),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except BaseException:
                self._channel.close()
                raise
        self._output = _Output(name or ",".join(modules), cast("IO[bytes]", self._popen.stdout))

    def lives(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def ask(self, line: bytes, seconds: float) -> Answer:
        """Send a line, and wait for the answer.

        Raises:
            TimeoutError: there was none in time.
            OSError, DecodeError: the process is gone, or said nonsense.
        """
        self._output.allow()
        began = monotonic()
        self._channel.settimeout(seconds)
        self._channel.sendall(line + b"\n")
        return self.hear(Answer, seconds - (monotonic() - began))

    def hear(self, kind: type[T], seconds: float) -> T:
        """Wait for a line.

        Raises:
            TimeoutError, OSError, DecodeError: as ``ask``.
        """
        deadline = monotonic() + seconds
        while b"\n" not in self._rest:
            if (left := deadline - monotonic()) <= 0:
                raise TimeoutError
            self._channel.settimeout(left)
            piece = self._channel.recv(65_536)
            if not piece or len(self._rest) > _ANSWER_BYTES:
                raise ConnectionError
            self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        return decode(line, type=kind)

    def close(self) -> None:
        """Have it end by itself, as it does where nobody speaks to it any more."""
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_SECONDS)
        self.end()

    def end(self, wait: float = 0.0) -> str:
        """End it, with all that its handler started; return how it ended, in words.

        Args:
            wait: seconds in which it may end by itself, as it does: its exit code says how.
        """
        self._channel.close()
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(wait)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_SECONDS)
        return in_words(self._popen.returncode or 0)


class _Output:
    """Passes on what a handler prints, up to ``OUTPUT_BYTES`` for each change.

    That may be what people wrote about themselves. So each line begins with the handler's name, and
    none can be taken for one of our log's, nor reach a terminal as a command.
    """

    def __init__(self, handler: str, stream: IO[bytes]) -> None:
        self._handler = handler
        self._stream = stream
        self._left, self._dropped = OUTPUT_BYTES, 0
        Thread(target=self._pass_on, name="output", daemon=True).start()

    def allow(self) -> None:
        """Begin anew, for the next change."""
        dropped, self._dropped, self._left = self._dropped, 0, OUTPUT_BYTES
        if dropped:
            get_logger().warning("handler.output_cut", handler=self._handler, bytes=dropped)

    def _pass_on(self) -> None:
        with self._stream:
            for line in iter(lambda: self._stream.readline(LINE_BYTES), b""):
                if len(line) <= self._left:
                    self._left -= len(line)
                    with suppress(OSError):
                        os.write(2, f"[{self._handler}] {_printable(line)}\n".encode())
                else:
                    self._dropped += len(line)


def _printable(line: bytes) -> str:
    """A line as a text without characters that do something instead of being shown."""
    text = line.decode(errors="replace").rstrip("\r\n")
    return "".join(each if each.isprintable() or each == "\t" else "\ufffd" for each in text)
