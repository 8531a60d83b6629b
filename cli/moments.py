"""The option type for times: a day, a moment, or a span from now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from usher.core.app import utc_now

_SPAN: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[datetime]):
    """A time in UTC. Text without an offset is read as UTC.

    Args:
        direction: of a span such as 30d, from now: -1 back, 1 ahead.
    """

    name = "time"

    def __init__(self, direction: int) -> None:
        self._direction = direction

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        """Read the option's text."""
        try:
            if span := _SPAN.fullmatch(value):
                length = timedelta(**{_UNITS[span[2]]: int(span[1])})
                return utc_now() + self._direction * length
            found = datetime.fromisoformat(value)
            if found.tzinfo is None:
                return found.replace(tzinfo=UTC)
            return found.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is neither a day (2026-11-24), nor a moment (2026-11-24T09:30:00), "
                "nor a span (30d, 12h, 90m).",
                param,
                ctx,
            )


PAST: Final = Moment(-1)
AHEAD: Final = Moment(1)
