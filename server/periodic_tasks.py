"""Periodic tasks beside a running server: first soon after the start, then at intervals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from usher.core.log import Recurring, describe, get_logger

FIRST_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 0.2
"""Between two steps, so that events come first."""


async def run_periodically(
    step: Callable[[], bool],
    task: str,
    *,
    every: float,
    first: float = FIRST_SECONDS,
    pause: float = PAUSE_SECONDS,
) -> None:
    """Take steps while there is more to do, then rest; repeat until cancelled.

    A failed step is tried again after the rest. Failures are logged at first, when the error
    changes, once a minute, and when they are over.

    Args:
        step: does a little work in a thread; returns whether there may be more to do.
        task: its name, for the log.
        every, first, pause: seconds of a rest, before the first step, and between steps.
    """
    failing = Recurring()
    await asyncio.sleep(first)
    while True:
        try:
            while await asyncio.to_thread(step):
                await asyncio.sleep(pause)
        except Exception as error:
            what = describe(error)
            if failing.again((what["code"], what["detail"])):
                get_logger().error("maintenance.failed", task=task, times=failing.times, **what)
        else:
            if times := failing.over():
                get_logger().info("maintenance.recovered", task=task, times=times)
        await asyncio.sleep(every)
