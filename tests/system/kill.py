"""A process that dies at a chosen moment: before and after each commit, sync, and call of Identity.

The moments are in the code as it stands; they are wrapped, in tests only. To die is an exception
that nothing catches (``Killed``), or a real SIGKILL, as ``die`` says.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from usher.core.spool import files as spool
from usher.core.spool.files import Spool, SpoolFile
from usher.core.store.database import Database, Transaction


class Killed(BaseException):
    """The process is no more."""


def _raise() -> None:
    raise Killed


class Moments:
    """Counts the moments that pass, and dies at one of them.

    Attributes:
        passed: their names so far.
        committed: called after each commit, before anybody could die.
        spooled: called when records stand in a spool file.
        dead: nothing reaches the disk any more, not even what clears up on the way out.
    """

    def __init__(self, die: Callable[[], None] = _raise) -> None:
        self.passed: list[str] = []
        self.committed: Callable[[], None] = lambda: None
        self.spooled: Callable[[], None] = lambda: None
        self.dead = False
        self._die = die
        self._left: int | None = None

    def arm(self, moments: int | None) -> None:
        """Die at the so-many-th moment from now; None: live on."""
        self._left = moments
        self.dead = False

    def arrive(self, name: str) -> None:
        """A moment at which the process could die."""
        if self.dead:
            raise Killed
        self.passed.append(name)
        if self._last():
            self.dead = True
            self._die()

    def _last(self) -> bool:
        if self._left is not None:
            self._left -= 1
        return self._left == 0


def watch(patch: pytest.MonkeyPatch, moments: Moments) -> None:
    """Wrap what reaches the disk, until ``patch`` is undone."""
    begin, write, append, remove = Database.write, spool._write, Spool.append, Spool.remove

    @contextmanager
    def transaction(self: Database) -> Iterator[Transaction]:
        with begin(self) as begun:
            yield begun
            moments.arrive("before a commit")
        moments.committed()
        moments.arrive("after a commit")

    def written(descriptor: int, data: bytes) -> None:
        try:
            moments.arrive("as the spool is written")
        except Killed:
            write(descriptor, data[:10])  # torn
            raise
        write(descriptor, data)
        moments.spooled()
        moments.arrive("before the spool is synced")

    def appended(self: Spool, records: Sequence[bytes]) -> None:
        append(self, records)
        moments.arrive("after the spool is synced")

    def removed(self: Spool, file: SpoolFile) -> None:
        moments.arrive("before a spool file goes")
        remove(self, file)
        moments.arrive("after a spool file went")

    patch.setattr(Database, "write", transaction)
    patch.setattr(spool, "_write", written)
    patch.setattr(Spool, "append", appended)
    patch.setattr(Spool, "remove", removed)


def sigkill() -> None:
    """Die for real."""
    os.kill(os.getpid(), 9)
