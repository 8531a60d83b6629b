"""Logging: one JSON object a line, ``noun.verb`` with fields, on standard error.

No field ever holds a token, secret, address or name. Ids and names of rules are fields.

structlog is the public way to configure the log, and importing it is most of a cold start. So we
write our lines ourselves, as it would, until a process that has loaded it configures it otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from time import monotonic, perf_counter
from typing import Any, Final, TextIO

from usher.core.errors import UsherError
from usher.core.strict_json import dumps
from usher.core.texts import zulu_text

_TRACEBACK: Final = "traceback"
_NOT_SHOWN: Final = ("level", "event", "where", _TRACEBACK)
_PIECE_BYTES: Final = 4_000
"""Written at once at most: of that length, processes that share a pipe do not mix their lines."""
AGAIN_SECONDS: Final = 60.0
"""Pause between two lines about the same recurring failure."""

_INFO: Final = 20
_LEVELS: Final = {"info": _INFO, "warning": 30, "error": 40}  # as in logging, not loaded for them
Observer = Callable[[str, Mapping[str, Any]], Mapping[str, Any] | None]


def configure(
    stream: TextIO | None = None,
    level: int = _INFO,
    *,
    plain: bool = False,
    tracebacks: bool = False,
) -> None:
    """Send our log lines to ``stream``; None: standard error.

    Args:
        level: lines below it are dropped; a level of ``logging``.
        plain: write words and ``name=value``, for a terminal, in place of JSON.
        tracebacks: write the traceback of unforeseen errors below their line. It may quote
            anything, so this is for a developer's own machine.
    """
    global _ours
    _Tracebacks.shown = tracebacks
    _ours = _Configured(stream or sys.stderr, level, plain=plain)
    if "structlog" in sys.modules:
        _ours.tell_structlog()


class _Tracebacks:
    """Whether errors are described with their traceback."""

    shown = False


def _in_json(fields: dict[str, Any], timestamp: str) -> str:
    """Render a line as JSON; a traceback stands below it."""
    below = fields.pop(_TRACEBACK, "")
    fields["timestamp"] = timestamp
    return f"{_line(fields)}\n{below}" if below else _line(fields)


def _line(fields: Mapping[str, Any]) -> str:
    try:
        return dumps(fields)
    except UnicodeEncodeError:  # half a surrogate pair, of a path perhaps: written as an escape
        import json  # noqa: PLC0415

        return json.dumps(fields, default=str)


def _in_words(fields: dict[str, Any], _timestamp: str) -> str:
    """Render a line for a terminal; values are escaped, and where it comes from is left out."""
    shown = [f"{name}={value!r}" for name, value in fields.items() if name not in _NOT_SHOWN]
    return " ".join([f"{fields['level']}: {fields['event']}", *shown])


class _Lossy:
    """A stream that drops what it cannot write: a full disk under the log must refuse no event."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = Lock()

    def write(self, text: str) -> None:
        """Write at once, whole; an OSError loses the text."""
        with self._lock:
            with suppress(OSError):
                self._stream.write(text)
            with suppress(OSError):
                self._stream.flush()

    def flush(self) -> None:
        """Nothing is left to flush."""


class _Configured:
    """A configuration of ours; ``structlog`` is told of it where it is loaded."""

    def __init__(self, stream: TextIO, level: int, *, plain: bool) -> None:
        self.level = level
        self._stream = _Lossy(stream)
        self._render = _in_words if plain else _in_json
        self._observers: list[Observer] = []
        self._told: dict[str, Any] = {}

    def tell_structlog(self) -> None:
        """Have structlog write in the same way, for a project's own lines."""
        import structlog  # noqa: PLC0415 - it is loaded already

        observers = [partial(_observed, observer) for observer in self._observers]
        structlog.configure(
            processors=[*observers, structlog.processors.add_log_level, self._last_processor],
            wrapper_class=structlog.make_filtering_bound_logger(self.level),
            logger_factory=structlog.WriteLoggerFactory(self._stream),  # type: ignore[arg-type]
            cache_logger_on_first_use=False,
        )
        config = structlog.get_config()  # its list changes in place, as in ``capture_logs``
        self._told = config | {"processors": [*config["processors"]]}

    def stands(self) -> bool:
        """Whether structlog, which is loaded, has this configuration; it has if it had none."""
        import structlog  # noqa: PLC0415 - it is loaded already

        if not self._told and not structlog.is_configured():
            self.tell_structlog()
        return structlog.get_config() == self._told

    def observe(self, observer: Observer) -> None:
        """Call an observer before all others."""
        self._observers.insert(0, observer)
        if self._told:
            self.tell_structlog()

    def write(self, level: str, lines: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Write lines of one moment, in few pieces."""
        timestamp, render = zulu_text(datetime.now(UTC)), self._render
        piece, size = "", 0
        try:
            for name, fields in lines:
                observed: dict[str, Any] = {**fields, "event": name}
                for observer in self._observers:
                    _observed(observer, None, level, observed)
                observed["level"] = level
                line = f"{render(observed, timestamp)}\n"
                more = len(line) if line.isascii() else len(line.encode(errors="replace"))
                if piece and size + more > _PIECE_BYTES:
                    self._stream.write(piece)
                    piece, size = "", 0
                piece += line
                size += more
        finally:
            if piece:
                self._stream.write(piece)

    def _last_processor(self, _logger: Any, _method: str, fields: Any) -> str:
        return self._render(fields, zulu_text(datetime.now(UTC)))


_ours: _Configured | None = None


def _ours_stands() -> _Configured | None:
    """Our configuration; None: structlog is loaded, and has another.

    A process that neither configures the log nor loads structlog gets our lines.
    """
    if "structlog" not in sys.modules:
        if _ours is None:
            configure()
        return _ours
    return _ours if _ours is not None and _ours.stands() else None


def load_structlog() -> None:
    """Load structlog, with our configuration, for code that may be about to use it."""
    import structlog  # noqa: F401, PLC0415 - seldom needed

    _ours_stands()


def observe(observer: Observer) -> None:
    """Call ``observer`` with the ``noun.verb`` and the fields of every line from now on.

    It runs in the thread that writes the line, and must neither block nor raise. The mapping that
    it returns is added to the fields.
    """
    ours = _ours_stands()
    if ours is not None:
        ours.observe(observer)
        return
    import structlog  # noqa: PLC0415 - it is loaded already

    processors = structlog.get_config()["processors"]
    structlog.configure(processors=[partial(_observed, observer), *processors])


def _observed(observer: Observer, _logger: Any, _method: str, fields: Any) -> Any:
    if more := observer(fields["event"], fields):
        fields.update(more)
    return fields


def _write(level: str, lines: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    ours = _ours_stands()
    if ours is None:
        import structlog  # noqa: PLC0415 - it is loaded already

        write = getattr(structlog.get_logger(), level)
        for name, fields in lines:
            write(name, **fields)
    elif ours.level <= _LEVELS[level]:
        ours.write(level, lines)


def info_all(lines: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Write lines, each a ``noun.verb`` and its fields, as ``info`` does, but all at once.

    They have one moment, and few writes. Where structlog is configured otherwise than here, each
    goes through it by itself.
    """
    _write("info", lines)


class Logger:
    """Writes lines, each a ``noun.verb`` with fields, as last configured."""

    def info(self, event: str, **fields: Any) -> None:
        """Tell of what is as it should be."""
        _write("info", ((event, fields),))

    def warning(self, event: str, **fields: Any) -> None:
        """Tell of what somebody should know."""
        _write("warning", ((event, fields),))

    def error(self, event: str, **fields: Any) -> None:
        """Tell of a failure on our side."""
        _write("error", ((event, fields),))


_LOGGER: Final = Logger()


def get_logger() -> Logger:
    """The logger; a module may keep it."""
    return _LOGGER


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
    import traceback  # noqa: PLC0415 - most processes meet no error
    from pathlib import PurePath  # noqa: PLC0415

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
