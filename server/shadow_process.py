"""The process of a shadow policy.

It is started by ``python -P -m usher.server.shadow_process SERVER LEASE HANG ENDED``.
It runs with low priority and little memory. The system's own alarm ends it where a policy
hangs, which needs no Python; ``usher.server.shadow`` then starts another one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Final
from uuid import UUID

from usher.core.app import App
from usher.core.errors import UsherError
from usher.core.log import Recurring, describe, get_logger
from usher.core.settings import Settings
from usher.core.shadow import OutgrownError, Shadow
from usher.server.beside import OUTGROWN, begin, rest_after

IDLE_SECONDS: Final = 2.0
"""Between two looks at the ledger, once there was nothing new."""
PAUSE_SECONDS: Final = 0.2
"""Between two looks otherwise, at least: events have the database for themselves meanwhile."""


def main() -> None:
    """Follow the ledger until the server ends, or tells this process to."""
    begin(_stop)
    sys.path.append("")  # as the command has it: a callable policy may be in the working folder
    app = App(Settings.from_env(os.environ))
    server, lease, hang_seconds, ended = sys.argv[1:]
    tick = partial(signal.alarm, int(hang_seconds))
    shadow = app.shadow(UUID(lease), ended, tick)
    try:
        _follow(shadow, int(server))
    except MemoryError:
        os._exit(OUTGROWN)  # nothing can be trusted to need no memory
    except OutgrownError:
        os._exit(OUTGROWN)
    finally:
        tick()
        with suppress(UsherError):  # else the lease ends by itself
            shadow.close()
        app.close()


def _follow(shadow: Shadow, server: int) -> None:
    failing = Recurring()
    while os.getppid() == server:
        more, began = False, time.monotonic()
        try:
            more = shadow.step()
        except UsherError as error:
            what = describe(error)
            if failing.again((what["code"], what["detail"])):
                get_logger().warning("shadow.waits", times=failing.times, **what)
        else:
            failing.over()
        signal.alarm(0)
        rest = max(PAUSE_SECONDS, rest_after(time.monotonic() - began))
        time.sleep(rest if more else IDLE_SECONDS)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    main()
