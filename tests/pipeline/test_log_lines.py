"""Our lines, one or a batch of them, are those that structlog writes."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from usher.core.log import configure, get_logger, info_all, load_structlog, observe

LINES: list[tuple[str, dict[str, Any]]] = [
    ("event.applied", {"duration_ms": 1.25, "delivery_id": "a" * 72, "rules": ["x", "é"]}),
    ("event.repeated", {"duration_ms": 1.25, "delivery_id": "b" * 72, "key_index": 0}),
]


class Written(io.StringIO):
    """A stream that keeps each write apart."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def one_by_one() -> None:
    """The lines as ``info`` writes them."""
    for name, fields in LINES:
        get_logger().info(name, **fields)


def without_time(text: str) -> list[str]:
    """The lines, their moments put aside."""
    lines = [json.loads(line) for line in text.splitlines()]
    moments = [datetime.fromisoformat(line["timestamp"]) for line in lines]
    assert all(moment.utcoffset() == timedelta(0) for moment in moments)
    return [json.dumps(line | {"timestamp": ""}) for line in lines]


@contextmanager
def structlog_not_loaded() -> Iterator[None]:
    """As in a process that has not imported it yet, and so not configured it either."""
    structlog.reset_defaults()
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "structlog")
        yield


NOON = datetime(2026, 3, 2, 12, 0, 0, 120_000, UTC)


@pytest.mark.parametrize("at", [NOON, NOON.replace(microsecond=0)], ids=["", "whole"])
@pytest.mark.parametrize("method", ["info", "warning", "error"])
@pytest.mark.parametrize("loaded", [False, True], ids=["alone", "beside structlog"])
def test_a_line_is_that_of_structlog(
    method: str, loaded: bool, at: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, with a level and a time among the fields as well."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return at

    monkeypatch.setattr("usher.core.log.datetime", Clock)
    monkeypatch.setattr("structlog.processors.datetime.datetime", Clock)
    fields = {"level": "x", "timestamp": "y", "event_name": "é", "ms": 1.5, "at": [None, True]}
    theirs, ours = Written(), Written()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(ensure_ascii=False, separators=(",", ":")),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(theirs),
    )
    getattr(get_logger(), method)("event.applied", **fields)
    with nullcontext() if loaded else structlog_not_loaded():
        configure(ours)
        getattr(get_logger(), method)("event.applied", **fields)
    assert "2026-03-02T12:00:00" in theirs.getvalue()
    assert ours.writes == ["".join(theirs.writes)]


def test_a_process_without_structlog_is_observed() -> None:
    """By several, the last one first; each sees what those before it added."""
    stream, seen = Written(), []

    def first(_name: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        seen.append(dict(fields))
        return {"trace_id": "t"}

    with structlog_not_loaded():
        configure(stream)
        observe(lambda name, fields: seen.append({"name": name, **fields}))
        observe(first)
        get_logger().warning("batch.split", deliveries=2)
    base = {"event": "batch.split", "deliveries": 2}
    assert seen == [base, {"name": "batch.split", "trace_id": "t", **base}]
    assert json.loads(stream.getvalue())["trace_id"] == "t"


def test_structlog_loaded_later_writes_as_we_do() -> None:
    """A project's own lines look like ours, and their configuration counts once there is one."""
    stream, theirs = Written(), Written()
    with structlog_not_loaded():
        configure(stream)
        observe(lambda name, fields: {"seen": name})
        get_logger().info("event.applied")
    get_logger().info("event.applied")
    structlog.get_logger().info("shop.order", number=1)
    lines = [json.loads(line) for line in stream.writes]
    assert [line["seen"] for line in lines] == ["event.applied", "event.applied", "shop.order"]
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(theirs),
    )
    get_logger().error("event.failed", code="x")
    assert len(stream.writes) == 3
    assert json.loads(theirs.getvalue()) == {"event": "event.failed", "code": "x"}


def test_structlog_is_ours_before_a_projects_code_is_imported() -> None:
    """So its processors come before ours, and do not stand in their place."""
    stream = Written()
    with structlog_not_loaded():
        configure(stream)
    load_structlog()
    structlog.get_logger().info("shop.order")
    before = structlog.get_config()["processors"]

    def mine(_logger: object, _method: str, fields: Any) -> Any:
        return fields | {"shop": 7}

    structlog.configure(processors=[mine, *before])
    get_logger().info("event.applied")
    shown = [json.loads(line) for line in stream.writes]
    assert [(line["event"], line.get("shop")) for line in shown] == [
        ("shop.order", None),
        ("event.applied", 7),
    ]


def test_a_projects_own_configuration_is_observed() -> None:
    """An observer that comes later stands before their processors."""
    stream = Written()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=structlog.WriteLoggerFactory(stream),
    )
    observe(lambda name, fields: {"seen": name})
    get_logger().info("event.applied")
    assert json.loads(stream.getvalue()) == {"event": "event.applied", "seen": "event.applied"}


def test_a_process_that_configures_nothing_logs_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In our form, without structlog."""
    monkeypatch.setattr("usher.core.log._ours", None)
    with structlog_not_loaded():
        get_logger().error("event.failed")
    assert json.loads(capsys.readouterr().err)["event"] == "event.failed"


@pytest.mark.parametrize("lost", ["write", "flush"])
def test_a_full_disk_loses_a_line_alone(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is written."""
    stream = Written()
    configure(stream)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(stream, lost, full)
        get_logger().info("event.applied", number=1)
    get_logger().info("event.applied", number=2)
    assert [json.loads(line)["number"] for line in stream.writes][-1] == 2


@pytest.mark.parametrize("observed", [False, True], ids=["alone", "observed"])
def test_a_batch_has_the_lines_of_its_events(observed: bool) -> None:
    """Same fields in the same order, an observer's among them; one moment, one write."""
    seen: list[tuple[str, dict[str, Any]]] = []

    def observer(name: str, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
        seen.append((name, dict(fields)))
        return {"trace_id": "t"} if name == "event.applied" else None

    texts = []
    for write in (one_by_one, lambda: info_all(LINES)):
        stream = Written()
        configure(stream)
        if observed:
            observe(observer)
        write()
        texts.append(stream.getvalue())
    assert without_time(texts[0]) == without_time(texts[1])
    assert len(stream.writes) == 1
    assert len({json.loads(line)["timestamp"] for line in texts[1].splitlines()}) == 1
    assert seen[:2] == seen[2:]
    assert len(seen) == (4 if observed else 0)


@pytest.mark.parametrize("text", ["x" * 900, "é" * 450], ids=["ASCII", "two bytes"])
def test_many_lines_are_written_in_pieces(text: str) -> None:
    """Processes that share a pipe do not mix lines that are written 4,096 bytes at a time."""
    stream = Written()
    configure(stream)
    info_all([("event.applied", {"number": number, "text": text}) for number in range(16)])
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["number"] for line in lines] == list(range(16))
    assert len(stream.writes) > 1
    assert all(len(text.encode()) <= 4096 and text.endswith("\n") for text in stream.writes)


def test_an_observer_that_raises_loses_no_line_before_it() -> None:
    """What was rendered already is written."""
    stream = Written()
    configure(stream)

    def strict(_name: str, fields: Mapping[str, Any]) -> None:
        if fields["number"] == 2:
            raise ValueError("not this one")

    observe(strict)
    with pytest.raises(ValueError, match="not this one"):
        info_all([("event.applied", {"number": number}) for number in range(4)])
    assert [json.loads(line)["number"] for line in stream.getvalue().splitlines()] == [0, 1]


def test_a_line_longer_than_a_piece_is_whole() -> None:
    """And so are those around it."""
    stream = Written()
    configure(stream)
    info_all([("event.applied", {"text": "x" * size}) for size in (10, 9_000, 10)])
    assert [len(json.loads(line)["text"]) for line in stream.getvalue().splitlines()] == [
        10,
        9_000,
        10,
    ]


def test_a_terminal_gets_words() -> None:
    """As for any other line."""
    stream = Written()
    configure(stream, plain=True)
    info_all(LINES)
    assert stream.getvalue().splitlines()[1].startswith("info: event.repeated duration_ms=1.25")


def test_lines_below_the_level_are_dropped() -> None:
    """These are of level info."""
    stream = Written()
    configure(stream, logging.WARNING)
    info_all(LINES)
    assert stream.getvalue() == ""


def test_a_projects_own_processors_get_every_line() -> None:
    """A project may configure structlog without us; its test helper does that, too."""
    with capture_logs() as captured:
        info_all(LINES)
    assert [line["event"] for line in captured] == ["event.applied", "event.repeated"]
    configure(Written())
    with capture_logs() as captured:
        info_all(LINES)
    assert captured[0] == {"event": "event.applied", "log_level": "info", **LINES[0][1]}


def test_nothing_is_written_for_no_lines() -> None:
    """An empty line is no line."""
    stream = Written()
    configure(stream)
    info_all([])
    assert stream.writes == []


def test_half_a_pair_of_surrogates_is_written_as_an_escape() -> None:
    """Such text comes from paths of requests, and UTF-8 has no form for it."""
    stream = Written()
    configure(stream)
    get_logger().info("request.failed", path="/\udcff")
    info_all([("event.applied", {"path": "/\udcff"})])
    assert [json.loads(line)["path"] for line in stream.getvalue().splitlines()] == ["/\udcff"] * 2
