"""The process that ``usher dev`` starts, and starts again: one worker behind the port.

It stays small: whatever can be wrong with code and settings is said by ``usher.cli.dev.worker``;
the worker then ends, and so does this.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import Final

from usher.server.serve import serve

HOST: Final = "127.0.0.1"
STOP_SECONDS: Final = 5
"""What requests under way get when it stops; connections on which none is are closed at once."""
ASKED_VARIABLE: Final = "LOCAL_IDENTITY_OF_USHER_DEV"
"""How the command tells this process what was asked for; no setting of anybody's."""


def main() -> None:
    """Serve until told to stop, or until whoever started us is gone."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(
        HOST,
        json.loads(os.environ[ASKED_VARIABLE])["port"],
        application="usher.cli.dev.worker:application",
        respawn=False,
        stop_seconds=STOP_SECONDS,
    )


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
