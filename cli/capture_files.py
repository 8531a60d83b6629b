"""Files of captures, named on the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import click

from usher.cli.output import say
from usher.core.captures.files import Reader
from usher.core.errors import CaptureError


def reader_of(file: IO[bytes], *, keep_going: bool) -> Reader:
    """Return a reader of captures; with ``keep_going``, wrong lines are only reported."""
    return Reader(file, _tell if keep_going else None)


def _tell(error: CaptureError) -> None:
    say(str(error), err=True, fg="yellow")


@contextmanager
def opened_file(path: str) -> Iterator[IO[bytes]]:
    """Open the file, or standard input for ``-``.

    Raises:
        click.ClickException: the file cannot be read.
    """
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a name from the command line
            yield file
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
