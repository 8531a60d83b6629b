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

GRACE_SECONDS: Final = 5.0
"""The time for requests under way; the port is closed at once."""
_PR_SET_PDEATHSIG: Final = 1
"""prctl(2)."""


def end_with_master() -> None:
    """See to it that this worker ends when its master does; nothing, where it has none."""
    master = multiprocessing.parent_process()
    if master is None:
        return
    _ask_for_signal()
    Thread(target=_watch, args=(master,), name="orphan", daemon=True).start()


def _ask_for_signal() -> None:
    """On Linux the system tells every worker at once.

    The pipe that is watched as well has its other end in workers that were forked later, so that
    by it alone they would end one after the other.
    """
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415 - for this alone

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _watch(master: BaseProcess) -> None:
    """Wait for the end of the pipe that multiprocessing keeps between a process and its parent."""
    master.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
