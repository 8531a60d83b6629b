"""The lease under which a server hands changes over: the same one before and after a crash."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO
from uuid import UUID, uuid4

FILE: Final = "outbox.lease"
WAIT_SECONDS: Final = 4.0
"""A process whose server was killed holds the lease a little longer."""
_LOOK_SECONDS: Final = 0.1


@contextmanager
def own_lease(folder: Path) -> Iterator[UUID]:
    """The lease of a folder, held until the end; or a new one, where another process has that.

    A process that takes the place of a killed one goes on at once. Under a lease of its own it
    would wait until the other's is over.

    Args:
        folder: that of the spool.
    """
    with ExitStack() as stack:
        lease = uuid4()
        with suppress(ImportError, OSError):  # Windows; no folder to write to, or it is taken
            path = folder / FILE
            file = stack.enter_context(path.open("a+", encoding="ascii", errors="replace"))
            _lock(file)
            lease = _read_or_write(file, lease)
        yield lease


def _lock(file: TextIO) -> None:
    """Hold a file until it is closed, and be it by a kill.

    Raises:
        BlockingIOError: another process holds it.
    """
    import fcntl  # noqa: PLC0415 - there is none on Windows

    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOOK_SECONDS)


def _read_or_write(file: TextIO, new: UUID) -> UUID:
    file.seek(0)
    try:
        return UUID(file.read())
    except ValueError:
        file.truncate(0)
        file.write(str(new))
        file.flush()
    return new
