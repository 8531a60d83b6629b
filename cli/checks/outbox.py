"""The check of the outbox: that consumers get their changes, and that somebody works on them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from usher.cli.checks.findings import Advice, Finding, Kind, Severity, fine
from usher.cli.output import counted, moment
from usher.core.app import App
from usher.core.domain.outbox import HANDLER
from usher.core.domain.outbox_view import AT_WORK, Standing

LATE: Final = timedelta(hours=1)

DEAD = Kind(
    "outbox.dead",
    "{consumer} did not take {count:change} in three days of attempts",
    (
        Advice(
            "The handler or the receiver had a mistake, or what it needs was away.",
            "Mend it, then have all of them handed over.",
            commands=("usher outbox retry --dead {consumer}",),
        ),
        Advice(
            "They are of no use any more.",
            "Look at them (usher outbox list --state dead), and drop each with usher outbox skip.",
        ),
    ),
    Severity.WARNING,
)
OVERDUE = Kind(
    "outbox.late",
    "{consumer} still does not have a change of {at} UTC",
    (
        Advice(
            "It fails again and again.",
            "Mend it; the next attempt is made by itself. The errors are in the list.",
            commands=("usher outbox list --consumer {consumer}",),
        ),
        Advice(
            "More changes come than it can take.",
            "Make the handler or the receiver faster, and wait.",
        ),
    ),
    Severity.WARNING,
)
UNATTENDED = Kind(
    "outbox.unattended",
    "changes are there for {consumer}, and nobody has worked on them since {at} UTC",
    (
        Advice(
            "No server runs, or it was started with other settings.",
            "Start it, or start it again.",
        ),
        Advice(
            "There is no server, and functions have no process for it.",
            "Have usher outbox run --once run every minute.",
        ),
    ),
    Severity.WARNING,
)
UNNAMED = Kind(
    "outbox.unnamed",
    "no module of USHER_HANDLERS has {consumer} any more",
    (
        Advice(
            "The function was renamed or moved.",
            "Give it the old name, @after(…, name={name}), so that it goes on where it was.",
        ),
        Advice(
            "The function is gone for good.",
            "Have it forgotten, with all that waits, once no server has worked for it for minutes.",
            commands=("usher outbox forget {consumer}",),
        ),
    ),
    Severity.WARNING,
)
PAUSED = Kind(
    "sinks.paused",
    "the sink {sink} is paused since {at} UTC, by {by}",
    (
        Advice(
            "Its receiver answered 410 Gone, or an administrator paused it.",
            "Once the receiver is there, let it have its changes.",
            commands=("usher sinks resume {sink}",),
        ),
        Advice(
            "The receiver is gone for good.",
            commands=("usher sinks remove {sink}",),
        ),
    ),
    Severity.WARNING,
)


def outbox_findings(app: App, handlers: Collection[str] | None) -> list[Finding]:
    """Return the findings on consumers of changes; nothing where there are none.

    Args:
        handlers: the names of those that the modules have; None: the modules cannot be read.
    """
    standings = app.outbox.standings()
    if not standings:
        return []
    named = None if handlers is None else {f"{HANDLER}{name}" for name in handlers}
    found = [finding for each in standings for finding in _of(each, named, app.clock())]
    found += [
        PAUSED.found(sink=str(sink.id), at=moment(sink.paused_at), by=sink.paused_by)
        for sink in app.sinks.all()
        if sink.paused_at
    ]
    waiting = sum(each.waiting + each.behind for each in standings)
    text = f"{counted(len(standings), 'consumer')}; {counted(waiting, 'change')} on the way"
    facts: Mapping[str, Any] = {"consumers": len(standings), "waiting": waiting}
    return found or [fine("outbox", text, **facts)]


def _of(each: Standing, named: Collection[str] | None, now: datetime) -> Iterator[Finding]:
    """The findings on one consumer."""
    name = each.name
    if named is not None and name.startswith(HANDLER) and name not in named:
        yield UNNAMED.found(consumer=name, name=repr(name.removeprefix(HANDLER)))
        return
    if each.dead:
        yield DEAD.found(consumer=name, count=each.dead)
    if each.paused or each.oldest_at is None:
        return
    if now - each.seen_at >= AT_WORK:
        yield UNATTENDED.found(consumer=name, at=moment(each.seen_at))
    elif now - each.oldest_at > LATE:
        yield OVERDUE.found(consumer=name, at=moment(each.oldest_at))
