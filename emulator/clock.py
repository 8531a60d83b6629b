"""The clock of one Identity, which can be set ahead so that links and refresh tokens expire."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from usher.emulator.errors import IdentityError

MAX_AHEAD_SECONDS: Final = 10 * 366 * 86_400


class MovableClock:
    """A clock that starts at the real time.

    Args:
        real: the real time, in UTC. Signatures of events keep to it: no receiver takes others.
    """

    def __init__(self, real: Callable[[], datetime]) -> None:
        self.real = real
        self._ahead_seconds = 0.0

    def __call__(self) -> datetime:
        """The time as set."""
        return self.real() + timedelta(seconds=self._ahead_seconds)

    def document(self) -> dict[str, Any]:
        """The clock as ``/_dev/clock`` shows it."""
        return {"now": self(), "ahead_seconds": self._ahead_seconds}

    def set_ahead(self, seconds: Any) -> None:
        """Set the clock this far ahead of the real time; 0 is the real time again.

        Raises:
            IdentityError: 400, this is no number in range.
        """
        if type(seconds) not in (int, float) or not 0 <= seconds <= MAX_AHEAD_SECONDS:
            raise IdentityError(400, f"ahead_seconds must be from 0 to {MAX_AHEAD_SECONDS}.")
        self._ahead_seconds = float(seconds)
