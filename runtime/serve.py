"""Starting the server: Granian in front of the application."""

from __future__ import annotations

from typing import Final

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

HEADER_TIMEOUT_MS: Final = 10_000
MAX_HEADER_BYTES: Final = 65_536
STOP_SECONDS: Final = 30


WORKER: Final = "runtime.worker:application"


def serve(
    host: str,
    port: int,
    workers: int = 1,
    application: str = WORKER,
    *,
    respawn: bool = True,
    stop_seconds: int = STOP_SECONDS,
) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are then finished and committed.

    One worker shares commits best; more workers pay off with PostgreSQL.

    Args:
        application: what each worker process imports, as ``module:name``.
        respawn: start a worker that ended by itself again; else everything ends with it.
        stop_seconds: what requests under way get at most, once told to stop.
    """
    Granian(
        application,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        workers=workers,
        websockets=False,
        log_enabled=False,
        respawn_failed_workers=respawn,
        workers_kill_timeout=stop_seconds,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=MAX_HEADER_BYTES
        ),
    ).serve()
