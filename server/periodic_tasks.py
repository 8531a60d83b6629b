"""Work beside a running server: a round soon after the start, and then one every so often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from usher.core.log import Recurring, describe, get_logger

FIRST_SECONDS: Final = 2.0
EVERY_SECONDS: Final = 3_600.0
PAUSE_SECONDS: Final = 0.2
"""Between two steps; events come first."""


async def run_periodically(
    step: Callable[[], bool],
    *,
    first: float = FIRST_SECONDS,
    every: float = EVERY_SECONDS,
    pause: float = PAUSE_SECONDS,
) -> None:
    """Take steps while there is more to do, then rest; until cancelled.

    What fails is tried again in the next round, and logged: at first, when it fails in another way,
    once a minute, and when it is over.

    Args:
        step: does a little in a thread; whether there may be more to do.
        first, every, pause: seconds before the first round, between rounds, between steps.
    """
    task = getattr(step, "__qualname__", "")
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
