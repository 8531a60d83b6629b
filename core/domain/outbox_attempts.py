"""Attempts to hand a change over that failed: when the next one is made, and when none is. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from msgspec.structs import replace

from usher.core.domain.outbox_queue import State, Waiting

FIRST_BACK_OFF: Final = timedelta(seconds=5)
LONGEST_BACK_OFF: Final = timedelta(hours=6)
GIVES_UP_AFTER: Final = timedelta(days=3)
LOOKS: Final = 8
"""Identity is asked so often about an account, within some 20 minutes; then it has none."""


def back_off(tries: int, chance: float) -> timedelta | None:
    """The pause after so many failed attempts; None: no further one is made.

    Args:
        chance: between 0 and 1, so that changes that failed together do not come back together.
    """
    if tries >= MAX_TRIES:
        return None
    return timedelta(seconds=_pause(tries).total_seconds() * (0.9 + 0.2 * chance))


def failed(
    row: Waiting, error: str, now: datetime, chance: float, retry_after: float | None
) -> Waiting:
    """The row after a failed attempt: due again, or a dead letter."""
    tries = row.tries + 1
    row = replace(row, tries=tries, error=error, failed_at=now)
    pause = back_off(tries, chance)
    if pause is None:
        return replace(row, state=State.DEAD, due_at=None)
    if retry_after is not None:
        wished = timedelta(seconds=max(0.0, min(retry_after, LONGEST_BACK_OFF.total_seconds())))
        pause = max(pause, wished)
    return replace(row, due_at=now + pause)


def without_account(row: Waiting, now: datetime, chance: float) -> Waiting:
    """The row after Identity had no such account: asked again, or dropped."""
    row = failed(row, "Identity has no such account", now, chance, None)
    return replace(row, state=State.DROPPED, due_at=None) if row.tries >= LOOKS else row


def _pause(tries: int) -> timedelta:
    doubled: int = 1 << min(tries - 1, 20)
    return min(FIRST_BACK_OFF * doubled, LONGEST_BACK_OFF)


def _most_tries() -> int:
    tries, passed = 1, timedelta()
    while passed < GIVES_UP_AFTER:
        passed += _pause(tries)
        tries += 1
    return tries


MAX_TRIES: Final = _most_tries()
"""Attempts until a change is a dead letter: those of three days."""
