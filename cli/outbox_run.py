"""``usher outbox run``: changes are handed over where no server does it."""

from __future__ import annotations

import os
import signal
from functools import partial
from threading import Event
from time import monotonic
from types import FrameType

import click

from usher.cli.environment import environment, opened
from usher.cli.output import counted, say


@click.command()
@click.option("--once", is_flag=True, help="End as soon as nothing is due.")
@click.option("--seconds", type=click.IntRange(1), help="End after so many seconds.")
def run(once: bool, seconds: int | None) -> None:
    """Hand changes over to the handlers of USHER_HANDLERS and to sinks, until stopped.

    A server does so by itself. Several may do it at the same time: they share the work.
    """
    from usher.server.handler_child import handlers_of  # noqa: PLC0415 - other commands need none
    from usher.server.outbox_lease import own_lease  # noqa: PLC0415
    from usher.server.outbox_process import KnownSinks  # noqa: PLC0415
    from usher.server.outbox_runner import Runner  # noqa: PLC0415

    told, until = Event(), monotonic() + seconds if seconds else None

    def stop(_signal: int, _frame: FrameType | None) -> None:
        told.set()

    with opened(verifies=False) as app:
        os.environ.update(environment())  # as the handlers of a server find it
        begins_at = app.newest_entry()  # an import takes its time
        handlers, sinks = handlers_of(app.settings.handlers), KnownSinks(lambda: app.sinks)
        if not handlers and not app.sinks.all():
            raise click.ClickException(
                "USHER_HANDLERS is not set, and there is no sink: nobody gets the changes."
            )
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, stop)
        with own_lease(app.settings.spool_folder) as lease:
            turns = partial(app.dispatcher, lease=lease, begins_at=begins_at, watch=app.watch)
            runner = Runner(lambda: [*sinks(), *handlers], turns, once=once)
            runner.run(lambda: told.is_set() or (until is not None and monotonic() >= until))
        say(f"{counted(runner.handed_over, 'change')} handed over.")
        if runner.failed is not None:
            raise runner.failed
