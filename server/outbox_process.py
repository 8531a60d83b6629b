"""The process that hands changes over.

It is started by ``python -P -m usher.server.outbox_process SERVER START``.

It runs with low priority and little memory. It sends the webhooks of sinks itself, but none of a
site's own code runs in it: each handler has a process of its own, ``usher.server.handler_process``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from threading import Event, Thread
from time import sleep
from types import FrameType
from typing import Final

from msgspec.json import decode

from usher.core.app import App
from usher.core.errors import DatabaseError, HandlersError
from usher.core.log import describe, get_logger
from usher.core.outbox.consumer import Consumer
from usher.core.outbox.dispatcher import Dispatcher
from usher.core.outbox.sinks import Sinks
from usher.core.settings import Settings
from usher.server.beside import begin
from usher.server.handler_child import handlers_of
from usher.server.outbox import Start
from usher.server.outbox_lease import own_lease
from usher.server.outbox_runner import Runner

AGAIN_SECONDS: Final = 5.0
"""Before modules that could not be used are tried again; each time twice as long."""
LONGEST_AGAIN_SECONDS: Final = 60.0
NEWEST_SECONDS: Final = 0.5
"""Before a database that was away at the start is asked again."""


def main() -> None:
    """Hand changes over until the server ends, or tells this process to."""
    server, told = int(sys.argv[1]), Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    begin(stop)
    app = App(Settings.from_env(os.environ))
    start = decode(sys.argv[2], type=Start)
    handlers = KnownHandlers(app.settings.handlers, start.begins_at, app.newest_entry)
    handlers.start()
    sinks, seconds = KnownSinks(lambda: app.sinks), start.settling_seconds
    settling = None if seconds is None else timedelta(seconds=seconds)
    with own_lease(app.settings.spool_folder) as lease:

        def turns(consumer: Consumer) -> Dispatcher:
            return app.dispatcher(
                consumer,
                lease,
                begins_at=handlers.begins_at,
                started_at=start.started_at,
                settling=settling,
                watch=app.watch,
            )

        runner = Runner(lambda: [*sinks(), *handlers()], turns)
        runner.run(lambda: told.is_set() or os.getppid() != server)
        # Hand-overs still under way are not waited for. Their processes end with this one.
        os._exit(0)


class KnownSinks:
    """The sinks that are not paused; while the database is away, those of before."""

    def __init__(self, sinks: Callable[[], Sinks]) -> None:
        self._sinks = sinks
        self._found: Sequence[Consumer] = ()

    def __call__(self) -> Sequence[Consumer]:
        """Return them."""
        with suppress(DatabaseError):
            self._found = self._sinks().consumers()
        return self._found


class KnownHandlers:
    """The handlers of the modules, as far as they are known.

    Modules are imported beside the work for sinks: one may hang, and one that cannot be used is
    tried again every so often.

    Args:
        newest: gives the newest entry of the audit.

    Attributes:
        begins_at: the entry after which new handlers begin; known before any handler is.
    """

    def __init__(
        self, modules: Sequence[str], begins_at: int | None, newest: Callable[[], int]
    ) -> None:
        self.begins_at = begins_at
        self._modules = modules
        self._newest = newest
        self._handlers: Sequence[Consumer] = ()

    def __call__(self) -> Sequence[Consumer]:
        """Return them."""
        return self._handlers

    def start(self) -> None:
        """Import the modules, in a thread of its own."""
        if self._modules:
            Thread(target=self._load, name="handlers", daemon=True).start()

    def _load(self) -> None:
        wait = AGAIN_SECONDS
        while self.begins_at is None:
            try:
                self.begins_at = self._newest()
            except DatabaseError:  # which is told where it counts
                sleep(NEWEST_SECONDS)
        while not self._handlers:
            try:
                self._handlers = handlers_of(self._modules)
            except HandlersError as error:
                get_logger().error("outbox.no_handlers", wait_seconds=wait, **describe(error))
                sleep(wait)
                wait = min(wait * 2, LONGEST_AGAIN_SECONDS)
            else:
                names = [each.name for each in self._handlers]
                get_logger().info("outbox.handlers", handlers=names)


if __name__ == "__main__":
    main()
