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
        with stopped_like_ctrl_c() as stop:
            try:
                _serve_and_replace(server, first, stop)
            finally:
                server.stop()
    except KeyboardInterrupt:
        click.echo("Stopped.")


class _Stop:
    """The handler of signals: raises KeyboardInterrupt, and keeps that we were told to stop.

    An exception raised while an object is destroyed goes no further: Python prints it and goes on.
    """

    def __init__(self) -> None:
        self._told = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True
        raise KeyboardInterrupt

    def heed(self) -> None:
        """Raise KeyboardInterrupt if we were told to stop before, and went on."""
        if self._told:
            raise KeyboardInterrupt


def _serve_and_replace(server: Server, first: Callable[[], None], stop: _Stop) -> None:
    said = False
    changed: list[Path] = []
    while True:
        began = time.perf_counter()
        changes = Watched().changes()
        next(changes)  # watching begins here, so that no later change is missed
        server.stop()
        starts = server.start()
        stop.heed()
        if not starts:
            click.secho("Usher does not run. Mend that and save: it starts by itself.", fg="red")
        elif not said:
            said = True
            with server.quietly():
                first()
        else:
            click.echo(f"{in_words(changed)} changed: ready in {time.perf_counter() - began:.1f} s")
        changed = _next_change(changes, server, stop)


def _next_change(changes: Iterator[list[Path]], server: Server, stop: _Stop) -> list[Path]:
    ran = server.runs
    for paths in changes:
        stop.heed()
        if paths:
            return paths
        if ran and not server.runs:
            ran = False
            click.secho("The server has ended. It starts again when a file changes.", fg="red")
    raise AssertionError("unreachable")


@contextmanager
def stopped_like_ctrl_c() -> Iterator[_Stop]:
    """Raise KeyboardInterrupt at each signal that ends a command."""
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
