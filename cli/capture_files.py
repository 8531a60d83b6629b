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
    """Reads it; a wrong line is told on standard error, if that is to be no reason to end."""
    return Reader(file, _tell if keep_going else None)


def _tell(error: CaptureError) -> None:
    say(str(error), err=True, fg="yellow")


@contextmanager
def opened_file(path: str) -> Iterator[IO[bytes]]:
    """The file, or standard input for ``-``.

    Raises:
        click.ClickException: it cannot be opened.
    """
    if path == "-":
        yield sys.stdin.buffer
        return
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a name from the command line
            yield file
    except OSError as error:
        raise click.ClickException(f"{path} cannot be read: {error.strerror}") from None
