"""The process of one handler.

It is started by ``python -P -m usher.server.handler_process PARENT SOCKET NAME MODULE…``.
It imports the modules and says over the socket which handlers they hold. Each line that it then
gets is a change for the handler NAME; each line that it says is the answer. Without a NAME it ends
after the first line. It lives in a session of its own, so that all that a handler starts ends
with it.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from threading import Thread
from typing import BinaryIO, Final

from msgspec import Struct
from msgspec.json import decode, encode

from usher.core import log
from usher.core.domain.outbox import Change, Write
from usher.core.errors import HandlersError
from usher.core.outbox.calls import call
from usher.core.outbox.consumer import Failed
from usher.core.outbox.handlers import Handler, load_handlers
from usher.server.beside import NICE, OUTGROWN, limit_memory

MEMORY_BYTES: Final = 1024 * 1024 * 1024
GRACE_SECONDS: Final = 5
"""Later than at its limit the alarm ends a handler: only where nobody is left who would."""
_LOOK_SECONDS: Final = 0.5


class Described(Struct, frozen=True):
    """A handler, without its function."""

    name: str
    patterns: frozenset[str]
    seconds: float
    module: str


class Loaded(Struct, frozen=True):
    """The first line: the handlers, or the problems with their modules."""

    handlers: tuple[Described, ...] = ()
    problems: tuple[str, ...] = ()


class Answer(Struct, frozen=True):
    """The line after each change.

    Attributes:
        error: of a handler that failed; empty: it has the change.
        cpu_seconds: the time of the processor that this took.
        ends: the process is not to be used again.
    """

    error: str = ""
    write: Write | None = None
    cpu_seconds: float = 0.0
    ends: bool = False


def main() -> None:
    """Answer changes until the socket is closed, or the process at its other end is gone."""
    parent, number, name, *modules = sys.argv[1:]
    Thread(target=_end_with, args=(int(parent),), name="orphan", daemon=True).start()
    channel = socket.socket(fileno=int(number))
    channel.set_inheritable(False)  # processes that a handler starts do not get it
    os.nice(max(0, NICE - os.nice(0)))
    limit_memory(MEMORY_BYTES)
    with suppress(OSError):  # Linux alone: where the machine has no memory left, this goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    sys.path.append("")  # as the command has it: the modules may be in the working folder
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a developer waits for what is printed
    log.configure()
    log.load_structlog()
    try:
        handlers = load_handlers(modules)
    except HandlersError as error:
        _say(channel, Loaded(problems=error.problems))
        return
    _say(channel, Loaded(handlers=tuple(map(_described, handlers))))
    for handler in handlers:
        if handler.name == name:
            with channel.makefile("rb") as changes:
                _answer_all(handler, changes, channel)


def _described(handler: Handler) -> Described:
    return Described(handler.name, handler.patterns, handler.seconds, handler.module)


def _answer_all(handler: Handler, changes: BinaryIO, channel: socket.socket) -> None:
    process = os.getpid()
    for line in changes:
        change = decode(line, type=Change)
        signal.alarm(int(handler.seconds) + GRACE_SECONDS)
        try:
            answer = _answer(handler, change)
        except MemoryError:
            answer = Answer("needed more memory than it may have", ends=True)
        if os.getpid() != process:
            os._exit(0)  # a copy that the handler forked: it must take no change, and answer none
        _say(channel, answer)
        if answer.ends:
            os._exit(OUTGROWN)  # nothing can be trusted to need no memory
        signal.alarm(0)


def _answer(handler: Handler, change: Change) -> Answer:
    before = _cpu_seconds()
    result = call(handler, change)
    spent = _cpu_seconds() - before
    if isinstance(result, Failed):
        return Answer(result.error, cpu_seconds=spent)
    return Answer(write=result.write, cpu_seconds=spent)


def _cpu_seconds() -> float:
    """The time of the processor for this process, and those that it started and that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _say(channel: socket.socket, what: Loaded | Answer) -> None:
    channel.sendall(encode(what) + b"\n")


def _end_with(parent: int) -> None:
    """End, with all that the handler started, once the parent is gone."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
