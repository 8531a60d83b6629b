"""The lease under which a server hands changes over: the same one before and after a crash."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID, uuid4, uuid5

FILE: Final = "outbox.lease"
BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
"""Names this start of the machine. Linux alone has it; elsewhere each process has a new lease."""
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
        with suppress(ImportError, OSError, ValueError):  # Windows; no such folder; it is taken
            file = stack.enter_context((folder / FILE).open("ab"))
            _lock(file)
            lease = lease_of(file)
        yield lease


def _lock(file: BinaryIO) -> None:
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


def lease_of(file: BinaryIO) -> UUID:
    """The lease of a file on a machine.

    A copy of the file is another one, and so is the same file for a second machine, where the lock
    of the first may not hold.

    Raises:
        OSError, ValueError: the machine does not name its start.
    """
    found = os.fstat(file.fileno())
    return uuid5(UUID(BOOT.read_text().strip()), f"{found.st_dev} {found.st_ino}")
