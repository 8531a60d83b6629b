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
_LOOK_SECONDS: Final = 0.5
"""How often a worker looks whether its master is still its parent."""
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
    """On Linux the system tells every worker at once, if the master lives when it is asked."""
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415 - for this alone

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _watch(master: BaseProcess) -> None:
    """Wait for the end of the pipe that multiprocessing keeps between a process and its parent.

    Workers that were forked later hold its other end, too, and would end one after the other by
    the pipe alone. So the parent is looked at as well: an orphan has another one.
    """
    while os.getppid() == master.pid:
        master.join(_LOOK_SECONDS)
        if not master.is_alive():
            break
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)
