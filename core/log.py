"""Logging: one JSON line each, ``noun.verb`` with fields, on standard error.

No token, secret, address or name is ever a field; ids and rule names are.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import PurePath
from time import monotonic, perf_counter
from typing import Any, Final, TextIO

import structlog

from usher.core.errors import UsherError
from usher.core.strict_json import dumps

AGAIN_SECONDS: Final = 60.0


def configure(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send our log lines to ``stream`` (standard error unless told otherwise)."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=lambda value, **_: dumps(value)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(_Lossy(stream or sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


def observe(observer: Callable[[str, Mapping[str, Any]], Mapping[str, Any] | None]) -> None:
    """Have ``observer`` see the ``noun.verb`` and the fields of every line from now on.

    It is called in the thread that writes the line, and must neither block nor raise. What it
    returns are further fields of the line.
    """

    def processor(
        _logger: Any, _method: str, fields: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if more := observer(fields["event"], fields):
            fields.update(more)
        return fields

    structlog.configure(processors=[processor, *structlog.get_config()["processors"]])


class _Lossy:
    """A stream that loses what it cannot write: a full disk under the log must refuse no event."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, if that can be."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush, likewise."""
        with suppress(OSError):
            self._stream.flush()


class Recurring:
    """What goes wrong again and again: worth a line at first, when it changes, and once a minute.

    Attributes:
        times: how often in a row so far.
    """

    def __init__(self) -> None:
        self.times = 0
        self._told: object = None
        self._at = 0.0

    def again(self, what: object) -> bool:
        """Count it once more; whether to write a line."""
        self.times += 1
        now = monotonic()
        if what == self._told and now - self._at < AGAIN_SECONDS:
            return False
        self._told, self._at = what, now
        return True

    def over(self) -> int:
        """It went well; how often in a row it had not."""
        times, self.times, self._told = self.times, 0, None
        return times


def elapsed_ms(started: float) -> float:
    """Milliseconds from a moment by ``perf_counter`` until now: ``duration_ms`` of a line."""
    return round((perf_counter() - started) * 1000, 2)


def describe(error: BaseException) -> dict[str, Any]:
    """An error's fields for a line: what it is and where it came from.

    The message of an error that is not ours is left out: it may hold anything.
    """
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    return {
        "code": error.code if isinstance(error, UsherError) else type(error).__name__,
        "detail": error.detail if isinstance(error, UsherError) else "",
        "where": [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames],
    }


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """The logger, as last configured."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
