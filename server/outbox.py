"""The keeper of the process that hands changes over: one beside each server."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.json import encode

from usher.core.errors import DatabaseError
from usher.core.log import get_logger
from usher.core.server_folder import ServerFolder, own_folder
from usher.server.keeper import Keeper

if TYPE_CHECKING:
    from usher.core.app import App

LOOK_SECONDS: Final = 1.0


class Start(Struct, frozen=True):
    """Facts that the process is told by its server.

    Attributes:
        begins_at: the entry of the audit after which new handlers begin: the newest one before the
            server answered anything. None: the database was away.
        started_at: when the server was started, however often the process is.
        settling_seconds: after so long Identity no longer rolls back; None: as Netlify's.
    """

    begins_at: int | None = None
    started_at: datetime | None = None
    settling_seconds: float | None = None


class OutboxKeeper(Keeper):
    """Keeps the process running that hands changes over, until closed.

    Args:
        folder: of the server; the process begins once a worker has told there of a sink. None: it
            begins at once.
        start: facts that the process is told.
    """

    def __init__(self, folder: ServerFolder | None, start: Start) -> None:
        super().__init__()
        self._folder = folder
        self._start = start

    def arguments(self, ended: str) -> Sequence[str]:  # noqa: ARG002 - it does not matter there
        """Its module, and the facts that it is told."""
        return ("usher.server.outbox_process", encode(self._start).decode())

    def tell(self, ended: str, wait_seconds: float) -> None:
        """Log it."""
        get_logger().error("outbox.ended", detail=ended, wait_seconds=wait_seconds)

    def _keep(self) -> None:
        while self._folder is not None and not self._folder.has_sinks():
            if self._closed.wait(LOOK_SECONDS):
                return
        super()._keep()


def look_for_sinks(usher: App) -> bool:
    """Tell the server once there is a sink; return that there is no more to do now.

    Without a handler or a sink no process hands changes over.
    """
    folder = own_folder()
    if folder is None or folder.has_sinks():
        return False
    from usher.core.store.sinks import count_sinks  # noqa: PLC0415 - loads SQLAlchemy

    with suppress(DatabaseError), usher.store.read() as transaction:
        if count_sinks(transaction):
            folder.see_sinks()
    return False
