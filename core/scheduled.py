"""A scheduled invocation: what a server does beside its requests, where there is only a function.

Tasks and consumers take their steps in turns, so that none waits for another one's backlog. Nothing
is begun that might not end in time. An invocation that is killed all the same loses nothing: every
step commits what it did, and what it had taken is free again when its lease ends.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from msgspec import Struct

from usher.core.app import App
from usher.core.errors import DatabaseAwayError, HandlersError, OutOfTimeError, UsherError
from usher.core.log import describe, get_logger
from usher.core.periodic import TASKS, Task

if TYPE_CHECKING:
    from usher.core.outbox.consumer import Consumer
    from usher.core.outbox.dispatcher import Dispatcher
    from usher.core.outbox.in_process import Alarm

SPARE_SECONDS: Final = 5.0
"""No step is begun so short a time before the end."""
CALL_SECONDS: Final = 12.0
"""No call of Identity is begun so short a time before the end: connecting takes two seconds at most
and an answer eight, and then the lease must be given back."""
NO_WAY: Final = "no way to Identity"


class Turn(Struct, frozen=True):
    """A task or a consumer that takes turns.

    Attributes:
        name: as the log has it.
        step: does a little work; returns whether there may be more to do at once.
        seconds: it is not called with less time than this.
    """

    name: str
    step: Callable[[], bool]
    seconds: float = SPARE_SECONDS


def run(
    usher: App, seconds_left: Callable[[], float], *, alarm: Alarm | None = None
) -> dict[str, Any]:
    """Run all periodic tasks, and hand changes over to sinks and handlers, in this process.

    Args:
        seconds_left: gives the seconds until the platform ends the invocation.
        alarm: interrupts a handler; None: by the timer of the operating system.

    Returns:
        ``{"done": whether nothing is left that is due}``. A task that needs Identity, where this
        invocation has no way to it, stands there by its name, with ``NO_WAY``; it is left for an
        invocation that has one.

    Raises:
        Exception: the first error of a task or a consumer, once all others had their turns. The log
            names each.
    """
    tasks = [task for task in TASKS if task.asked_for(usher.settings)]
    identity = usher.identity if usher.settings.tells_identity else None
    reaches = identity is not None and identity.is_admin and not identity.is_waiting
    without = [task.name for task in tasks if task.needs_identity and not reaches]
    problems: list[Exception] = []
    with ExitStack() as ending:
        if identity is not None:
            ending.enter_context(identity.calling_while(lambda: seconds_left() >= CALL_SECONDS))
        turns = [_turn_of(task, usher) for task in tasks if task.name not in without]
        if "sync" in {turn.name for turn in turns}:
            ending.callback(_pause, usher)
        try:
            turns += _consumers(usher, seconds_left, alarm, problems)
        except UsherError as error:  # without the database nothing can be done
            _fail("outbox", error, problems)
            raise
        done = take_turns(turns, seconds_left, problems)
    if problems:
        raise problems[0]
    return {"done": done, **dict.fromkeys(without, NO_WAY)}


def take_turns(
    turns: Collection[Turn], seconds_left: Callable[[], float], problems: list[Exception]
) -> bool:
    """Call steps in turns, each until it has no more to do, fails, or might not end in time.

    Args:
        problems: gets the errors of those that failed; once the database is away, the others are
            called no more.

    Returns:
        Whether all of them had the time to do all.
    """
    waiting, done = [*turns], True
    random.shuffle(waiting)  # where time runs out, another one is the first the next time
    while waiting:
        for one in tuple(waiting):
            more = False
            if seconds_left() >= one.seconds:
                try:
                    more = one.step()
                except OutOfTimeError:
                    done = False
                except Exception as error:  # noqa: BLE001 - raised after the others' turns
                    _fail(one.name, error, problems)
                    if isinstance(error, DatabaseAwayError):
                        return False
            if not more:
                waiting.remove(one)
                done = done and seconds_left() >= one.seconds
    return done


def _turn_of(task: Task, usher: App) -> Turn:
    seconds = CALL_SECONDS if task.needs_identity else SPARE_SECONDS
    return Turn(task.name, task.step(usher), seconds)


def _consumers(
    usher: App, seconds_left: Callable[[], float], alarm: Alarm | None, problems: list[Exception]
) -> list[Turn]:
    """Each sink and each handler; where the handlers cannot be imported, the sinks alone."""
    from usher.core.outbox.handlers import load_handlers  # noqa: PLC0415 - requests need none
    from usher.core.outbox.in_process import InProcess, by_timer, limit  # noqa: PLC0415

    begins_at = usher.newest_entry()  # an import takes its time
    consumers: list[Consumer] = [*usher.sinks.consumers(lambda: limit(seconds_left()))]
    try:
        handlers = load_handlers(usher.settings.handlers)
        consumers += [InProcess(each, seconds_left, alarm or by_timer) for each in handlers]
    except HandlersError as error:
        _fail("handlers", error, problems)
    lease = uuid4()
    seconds = SPARE_SECONDS if usher.accounts is None else CALL_SECONDS
    found = []
    for consumer in consumers:
        dispatcher = usher.dispatcher(consumer, lease, begins_at=begins_at)
        found.append(Turn(consumer.name, partial(_hand_over, dispatcher), seconds))
    return found


def _hand_over(dispatcher: Dispatcher) -> bool:
    turn = dispatcher.turn()
    return not turn.gone and (turn.worked or turn.more)


def _pause(usher: App) -> None:
    """Let go of a sync that is not complete, so that the next invocation can go on with it."""
    with suppress(UsherError):  # its lease ends by itself
        usher.sync.pause()


def _fail(name: str, error: Exception, problems: list[Exception]) -> None:
    get_logger().error("maintenance.failed", task=name, **describe(error))
    problems.append(error)
