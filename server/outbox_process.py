"""The process that hands changes over: ``python -P -m usher.server.outbox_process``.

It runs with low priority and little memory. It sends the webhooks of sinks itself, but none of a
site's own code runs in it: each handler has a process of its own, ``usher.server.handler_process``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import Event
from time import monotonic
from types import FrameType
from typing import Final

from usher.core import log
from usher.core.app import App
from usher.core.errors import DatabaseError, HandlersError
from usher.core.log import describe, get_logger
from usher.core.outbox.consumer import Consumer
from usher.core.outbox.sinks import Sinks
from usher.core.settings import Settings
from usher.server.beside import lower_limits
from usher.server.handler_child import handlers_of
from usher.server.outbox_lease import own_lease
from usher.server.outbox_runner import Runner

MEMORY_BYTES: Final = 768 * 1024 * 1024
AGAIN_SECONDS: Final = 5.0
"""Before modules that could not be used are tried again; each time twice as long."""
LONGEST_AGAIN_SECONDS: Final = 60.0


def main() -> None:
    """Hand changes over until the server ends, or tells this process to."""
    parent, told = os.getppid(), Event()
    lower_limits(MEMORY_BYTES)
    log.configure()
    for interrupt in (signal.SIGINT, signal.SIGHUP):
        signal.signal(interrupt, signal.SIG_IGN)  # a terminal tells all processes of the server

    def stop(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    signal.signal(signal.SIGTERM, stop)
    app = App(Settings.from_env(os.environ))
    handlers, sinks = KnownHandlers(app.settings.handlers), KnownSinks(lambda: app.sinks)
    with own_lease(app.settings.spool_folder) as lease:
        turns = partial(app.dispatcher, lease=lease)
        runner = Runner(lambda: [*sinks(), *handlers()], turns)
        runner.run(lambda: told.is_set() or os.getppid() != parent)
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

    Modules that cannot be used are tried again every so often.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = modules
        self._handlers: Sequence[Consumer] | None = None
        self._again_at, self._wait = 0.0, AGAIN_SECONDS

    def __call__(self) -> Sequence[Consumer]:
        """Return them."""
        if self._handlers is None and monotonic() >= self._again_at:
            try:
                self._handlers = handlers_of(self._modules)
            except HandlersError as error:
                get_logger().error("outbox.no_handlers", wait_seconds=self._wait, **describe(error))
                self._again_at = monotonic() + self._wait
                self._wait = min(self._wait * 2, LONGEST_AGAIN_SECONDS)
            else:
                names = [each.name for each in self._handlers]
                get_logger().info("outbox.handlers", handlers=names)
        return self._handlers or ()


if __name__ == "__main__":
    main()
