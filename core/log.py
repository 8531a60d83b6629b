"""Logging: one JSON object a line, ``noun.verb`` with fields, on standard error.

No field ever holds a token, secret, address or name. Ids and names of rules are fields.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import PurePath
from time import monotonic, perf_counter
from typing import Any, Final, TextIO

import structlog

from usher.core.errors import UsherError
from usher.core.strict_json import dumps
from usher.core.texts import zulu_text

_TRACEBACK: Final = "traceback"
_NOT_SHOWN: Final = ("level", "event", "where", _TRACEBACK)
_PIECE_CHARACTERS: Final = 4_000
"""Written at once at most: of that length, processes that share a pipe do not mix their lines."""
AGAIN_SECONDS: Final = 60.0
"""Pause between two lines about the same recurring failure."""


def configure(
    stream: TextIO | None = None,
    level: int = logging.INFO,
    *,
    plain: bool = False,
    tracebacks: bool = False,
) -> None:
    """Send our log lines to ``stream``; None: standard error.

    Args:
        level: lines below it are dropped.
        plain: write words and ``name=value``, for a terminal, in place of JSON.
        tracebacks: write the traceback of unforeseen errors below their line. It may quote
            anything, so this is for a developer's own machine.
    """
    _Tracebacks.shown = tracebacks
    structlog.configure(
        processors=[structlog.processors.add_log_level, _in_words] if plain else [*_AS_JSON],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(_Lossy(stream or sys.stderr)),  # type: ignore[arg-type]
        cache_logger_on_first_use=False,
    )


class _Tracebacks:
    """Whether errors are described with their traceback."""

    shown = False


def _in_json(_logger: Any, _method: str, fields: structlog.typing.EventDict) -> str:
    """Render a line as JSON; a traceback stands below it."""
    below = fields.pop(_TRACEBACK, "")
    return _line(fields) + f"\n{below}" * bool(below)


def _line(fields: Mapping[str, Any]) -> str:
    try:
        return dumps(fields)
    except UnicodeEncodeError:  # half a surrogate pair, of a path perhaps: written as an escape
        return json.dumps(fields)


_AS_JSON: Final[list[structlog.typing.Processor]] = [
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    _in_json,
]
"""The processors of every line, after those that observe; ``info_all`` does their work itself."""


def _in_words(_logger: Any, _method: str, fields: structlog.typing.EventDict) -> str:
    """Render a line for a terminal; values are escaped, and where it comes from is left out."""
    shown = [f"{name}={value!r}" for name, value in fields.items() if name not in _NOT_SHOWN]
    return " ".join([f"{fields['level']}: {fields['event']}", *shown])


def observe(observer: Callable[[str, Mapping[str, Any]], Mapping[str, Any] | None]) -> None:
    """Call ``observer`` with the ``noun.verb`` and the fields of every line from now on.

    It runs in the thread that writes the line, and must neither block nor raise. The mapping that
    it returns is added to the fields.
    """

    def processor(
        _logger: Any, _method: str, fields: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        if more := observer(fields["event"], fields):
            fields.update(more)
        return fields

    structlog.configure(processors=[processor, *structlog.get_config()["processors"]])


def info_all(lines: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Write lines, each a ``noun.verb`` and its fields, as ``info`` does, but all at once.

    They have one moment, and few writes. Where structlog is configured otherwise than here, each
    goes through it by itself.
    """
    config = structlog.get_config()
    processors = config["processors"]
    usual = config["wrapper_class"] is structlog.make_filtering_bound_logger(logging.INFO)
    if not usual or processors[-len(_AS_JSON) :] != _AS_JSON:
        log = get_logger().bind()
        for name, fields in lines:
            log.info(name, **fields)
        return
    write = config["logger_factory"]().msg
    observers = processors[: -len(_AS_JSON)]
    last = {"level": "info", "timestamp": zulu_text(datetime.now(UTC))}
    piece = ""
    for name, fields in lines:
        observed: Any = {**fields, "event": name}
        for observer in observers:
            observed = observer(None, "info", observed)
        observed |= last
        line = _line(observed)
        if piece and len(piece) + len(line) > _PIECE_CHARACTERS:
            write(piece)
            piece = ""
        piece = f"{piece}\n{line}" if piece else line
    if piece:
        write(piece)


class _Lossy:
    """A stream that drops lines it cannot write: a full disk under the log must refuse no event."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write; an OSError loses the text."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Flush; an OSError is ignored."""
        with suppress(OSError):
            self._stream.flush()


class Recurring:
    """A recurring failure: worth a line at first, when it changes, and once a minute.

    Attributes:
        times: failures in a row so far.
    """

    def __init__(self) -> None:
        self.times = 0
        self._logged: object = None
        self._at = 0.0

    def again(self, what: object) -> bool:
        """Count a failure; True where it is worth a line.

        Args:
            what: tells one failure from another.
        """
        self.times += 1
        now = monotonic()
        if what == self._logged and now - self._at < AGAIN_SECONDS:
            return False
        self._logged, self._at = what, now
        return True

    def over(self) -> int:
        """Note a success; return the failures in a row before it."""
        times, self.times, self._logged = self.times, 0, None
        return times


def elapsed_ms(started: float) -> float:
    """Milliseconds from ``started``, a ``perf_counter`` value, until now; for ``duration_ms``."""
    return round((perf_counter() - started) * 1000, 2)


def describe(error: BaseException) -> dict[str, Any]:
    """An error's fields for a line: ``code``, ``detail``, and ``where`` it came from.

    The message of an error that is not ours may hold anything, and is left out.
    """
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    fields: dict[str, Any] = {
        "code": error.code if isinstance(error, UsherError) else type(error).__name__,
        "detail": error.detail if isinstance(error, UsherError) else "",
        "where": [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames],
    }
    if _Tracebacks.shown:
        from usher.core.faults import in_full  # noqa: PLC0415 - for developers alone

        fields[_TRACEBACK] = in_full(error)
    return fields


def describe_failure(error: BaseException) -> dict[str, Any]:
    """The fields of ``describe``, and the failure of a delivery: class, message, file and line."""
    from usher.core.faults import failure_of  # noqa: PLC0415 - most processes meet no failure

    return describe(error) | failure_of(error).fields()


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """The logger, as last configured."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return logger
