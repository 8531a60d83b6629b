"""Workers end with the process that started them, also where that one is killed and says nothing.

A worker that lived on would keep the port, and answer with the settings of yesterday.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Final

GRACE_SECONDS: Final = 5
"""The time for requests under way; the port is closed at once."""
_LOOK_SECONDS: Final = 0.2
"""How often a worker looks whether its master is still its parent."""


def end_with_master() -> None:
    """See to it that this worker ends when its master does; nothing, where it has none."""
    master = multiprocessing.parent_process()
    if master is not None:
        Thread(target=_watch, args=(master,), name="orphan", daemon=True).start()


def _watch(master: BaseProcess) -> None:
    """Wait for the end of the pipe that multiprocessing keeps between a process and its parent.

    Workers that were forked later hold its other end, too, and would end one after the other by
    the pipe alone. So the parent is looked at as well: an orphan has another one.

    A worker that is asked to end while it starts may stand still for good, and hold the lock of
    the interpreter. So the system's alarm ends it, which needs no Python.
    """
    while os.getppid() == master.pid and master.is_alive():
        master.join(_LOOK_SECONDS)
    if sys.platform != "win32":
        signal.alarm(GRACE_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
