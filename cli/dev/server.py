"""The server process of ``usher dev``: one worker behind the port.

It stays small: ``usher.cli.dev.worker`` reports errors of code and settings. The worker then ends,
and so does this process.
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
"""Time for requests under way at a stop; idle connections are closed at once."""
ASKED_VARIABLE: Final = "LOCAL_IDENTITY_OF_USHER_DEV"
"""The variable with the command's options for this process; it is no setting."""


def main() -> None:
    """Serve until told to stop, or until the parent process is gone."""
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
