"""The loop of ``usher dev``: run a server until a file changes, then another one."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import click

from usher.cli.dev.process import Server
from usher.cli.dev.server import ASKED_VARIABLE
from usher.cli.dev.watch import Watched, in_words

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def supervise(url: str, asked: str, first: Callable[[], None]) -> None:
    """Run the server until we are stopped; replace it when a file changes.

    Args:
        url: of the server.
        asked: options for the server, as JSON.
        first: called once, when a server first answers.
    """
    server = Server(url, {ASKED_VARIABLE: asked})
    try:
        with _stopped_like_ctrl_c():
            try:
                _serve_and_replace(server, first)
            finally:
                server.stop()
    except KeyboardInterrupt:
        click.echo("Stopped.")


def _serve_and_replace(server: Server, first: Callable[[], None]) -> None:
    said = False
    changed: list[Path] = []
    while True:
        began = time.perf_counter()
        changes = Watched().changes()
        next(changes)  # watching begins here, so that no later change is missed
        server.stop()
        if not server.start():
            click.secho("Usher does not run. Mend that and save: it starts by itself.", fg="red")
        elif not said:
            said = True
            with server.quietly():
                first()
        else:
            click.echo(f"{in_words(changed)} changed: ready in {time.perf_counter() - began:.1f} s")
        changed = _next_change(changes, server)


def _next_change(changes: Iterator[list[Path]], server: Server) -> list[Path]:
    ran = server.runs
    for paths in changes:
        if paths:
            return paths
        if ran and not server.runs:
            ran = False
            click.secho("The server has ended. It starts again when a file changes.", fg="red")
    raise AssertionError("unreachable")


@contextmanager
def _stopped_like_ctrl_c() -> Iterator[None]:
    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
