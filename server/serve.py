"""The start of the server: Granian in front of the application."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Final

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.mp import MPServer

from usher.core.bounds import MAX_HEADER_BYTES
from usher.core.log import describe, get_logger
from usher.core.server_folder import VARIABLE, ServerFolder, made_in
from usher.server.keeper import Keeper
from usher.server.orphans import end_with_master

HEADER_TIMEOUT_MS: Final = 10_000
FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""The folder where several workers keep their metrics; prometheus_client reads this variable."""
CONNECTIONS: Final = 8_192
OTHER_FILES: Final = 256
STOP_SECONDS: Final = 30


WORKER: Final = "usher.server.worker:application"


def serve(
    host: str,
    port: int,
    workers: int = 1,
    application: str = WORKER,
    *,
    folder: Path | None = None,
    shadowed: bool = False,
    hands_over: bool | None = None,
    begins_at: int | None = None,
    respawn: bool = True,
    stop_seconds: int = STOP_SECONDS,
) -> None:
    """Serve until SIGINT or SIGTERM; requests under way are then finished and committed.

    SIGHUP has the workers read the policy again.

    One worker shares commits best; more workers pay off with PostgreSQL.

    Args:
        application: what each worker process imports, as ``module:name``.
        folder: holds what the processes of the server share, so that commands find it; None, or
            where it cannot be written: it is among the system's temporary files.
        shadowed: whether there is a shadow policy, which gets a process of its own.
        hands_over: whether there are handlers of changes. A process of its own hands over to them
            and to sinks; without handlers it begins once there is a sink. None: the application
            sees to that process, for the settings are known to it alone.
        begins_at: the entry of the audit after which new handlers begin; None: it is not known.
        respawn: restart a worker that ended by itself; else the server ends with it.
        stop_seconds: longest time for requests under way, once told to stop.
    """
    server = _Server(
        application,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        workers=workers,
        websockets=False,
        backpressure=_connections(),
        log_enabled=False,
        respawn_failed_workers=respawn,
        workers_kill_timeout=stop_seconds,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADER_TIMEOUT_MS, max_buffer_size=MAX_HEADER_BYTES
        ),
    )
    server.master = os.getpid()
    with (
        _shared_numbers(workers),
        _shared_folder(folder) as server.folder,
        _kept(server.folder, begins_at, shadowed=shadowed, hands_over=hands_over),
    ):
        server.serve(target_loader=_loaded)


class _Server(MPServer):
    """Granian, which at SIGHUP would put new workers in the place of all others."""

    master: int
    folder: ServerFolder | None

    def signal_handler_interrupt(self, *arguments: Any) -> None:
        """Let go the requests that wait for a change, then end."""
        if os.getpid() == self.master and self.folder is not None:
            self.folder.end()
        super().signal_handler_interrupt(*arguments)  # type: ignore[no-untyped-call]

    def signal_handler_reload(self, *_: object) -> None:
        """Have the workers read the policy again."""
        if os.getpid() != self.master:  # a forked worker has the handler, too
            return
        try:
            if self.folder is not None:
                self.folder.ask("usher")
        except OSError as error:
            get_logger().error("policy.not_followed", times=1, **describe(error))


def _loaded(target: str) -> Any:
    """Import ``module:name`` in a worker.

    Granian's own loader puts the working folder before everything else. A file ``queue.py`` there
    would then replace Python's.
    """
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal tells all of its processes
    end_with_master()
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _connections() -> int:
    """Return how many connections a worker may hold: the system's limit of files, less our own.

    Granian's default is 1,024: that many idle connections would keep everybody else waiting for
    the ten seconds after which they are closed.
    """
    if sys.platform == "win32":
        return CONNECTIONS
    import resource  # noqa: PLC0415 - there is none on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(soft - OTHER_FILES, 64)
    return CONNECTIONS


@contextmanager
def _kept(
    folder: ServerFolder | None, begins_at: int | None, *, shadowed: bool, hands_over: bool | None
) -> Iterator[None]:
    """Keep the processes running that belong beside this server."""
    keepers: list[Keeper] = []
    if shadowed and sys.platform != "win32":
        from usher.server.shadow import ShadowKeeper  # noqa: PLC0415 - most servers have none

        keepers.append(ShadowKeeper())
    if (hands_over or (hands_over is False and folder is not None)) and sys.platform != "win32":
        from usher.server.outbox import OutboxKeeper, Start  # noqa: PLC0415 - not on Windows

        start = Start(begins_at, datetime.now(UTC))
        keepers.append(OutboxKeeper(None if hands_over else folder, start))
    for keeper in keepers:
        keeper.start()
    try:
        yield
    finally:
        for keeper in keepers:
            keeper.close()


@contextmanager
def _shared_numbers(workers: int) -> Iterator[None]:
    """Make a folder for the metrics of several workers, which inherit its name."""
    if workers == 1:
        os.environ.pop(FOLDER_VARIABLE, None)  # a folder set by others is not ours
        yield
        return
    with TemporaryDirectory(prefix="usher-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        yield


@contextmanager
def _shared_folder(parent: Path | None) -> Iterator[ServerFolder | None]:
    """Make the folder that the processes of the server share; workers inherit its name.

    Without one, for want of a disk to write to, the policy stays that of the start.
    """
    os.environ.pop(VARIABLE, None)  # another server's
    with ExitStack() as stack:
        for place in (parent, Path(gettempdir())):
            try:
                found = place and stack.enter_context(made_in(place))
            except OSError as error:
                get_logger().warning("policy.folder_missing", **describe(error))
            else:
                if found:
                    os.environ[VARIABLE] = str(found.path)
                    break
        else:
            found = None
        yield found
