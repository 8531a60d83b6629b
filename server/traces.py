"""OpenTelemetry traces of the server, where the extra ``traces`` is installed and configured.

The standard variables configure them; without an endpoint (``OTEL_EXPORTER_OTLP_ENDPOINT``, or
``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) nothing is loaded. A thread sends the spans, and drops them
when it cannot keep up: neither an event nor the API ever waits for a collector. Like the metrics,
spans follow log lines. Their attributes are the lines' fields, such as an id, a status or a rule;
never an address, a token or a body.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Thread
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any, Final

from usher.core.errors import ExtraMissingError
from usher.core.log import get_logger
from usher.server.metrics import METHODS

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

    from usher.functions._shared.http import Request, Response

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
DISABLED: Final = "OTEL_SDK_DISABLED"
CLOSE_SECONDS: Final = 3.0
"""Longest wait for a collector at the end of a process."""
LINES: Final = frozenset({"push.done", "push.failed", "sync.done", "sync.stopped"})
"""Lines about work that is over and took ``duration_ms``; each becomes a span."""
UNTOLD: Final = frozenset({"event", "duration_ms", "detail"})
"""Fields that do not become attributes: a detail may quote Identity."""


def wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for traces."""
    disabled = environ.get(DISABLED, "").lower() == "true"
    return any(environ.get(name) for name in ENDPOINTS) and not disabled


def start(environ: Mapping[str, str] = os.environ) -> Traces | None:
    """Return the traces of this process; None where none are wanted, or the extra is missing."""
    if not wanted(environ):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - extra
            OTLPSpanExporter,
        )
    except ImportError:
        missing = ExtraMissingError("Traces have an endpoint; what sends them is", "traces")
        get_logger().error("traces.unavailable", detail=str(missing))
        return None
    return Traces(OTLPSpanExporter())


@dataclass(slots=True)
class Traced:
    """An event under way. Times are by ``perf_counter``, in seconds.

    Attributes:
        id: the delivery's.
        span: of the whole event; spans of its parts are made at its end.
        started: when its body was complete.
        verified: when it began to wait for a transaction.
        transaction: its start, its end, and the number of deliveries that shared it.
    """

    id: str
    span: Span
    started: float
    verified: float
    transaction: tuple[float, float, int] | None = None


class Traces:
    """Makes spans, and has them sent.

    Args:
        exporter: sends spans; called in a thread of its own.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415

        from usher.server.sampling import decided_here  # noqa: PLC0415 - needs the extra

        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "usher"}
        self._provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
        self._provider.sampler = decided_here(self._provider.sampler)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("usher")
        self._api = trace
        self._contexts = tracecontext.TraceContextTextMapPropagator()
        self._under_way: dict[str, Traced] = {}
        _word_complaints()

    def begin(self, started: float, fields: Mapping[str, Any]) -> Traced:
        """Begin the span of an event that was just verified.

        Args:
            started: when its body was complete, by ``perf_counter``.
            fields: of its log lines.
        """
        span = self._span("event", started, fields, None, self._api.SpanKind.SERVER)
        traced = Traced(fields["delivery_id"], span, started, perf_counter())
        self._under_way[traced.id] = traced
        return traced

    def transaction(self, deliveries: Sequence[str], started: float) -> None:
        """Note a transaction that is over, for the deliveries (ids) that shared it."""
        over = started, perf_counter(), len(deliveries)
        for delivery in deliveries:
            traced = self._under_way.get(delivery)
            if traced is not None:
                traced.transaction = over

    def end(self, traced: Traced, status: int) -> None:
        """End the span of an event that is answered now."""
        if self._under_way.get(traced.id) is traced:  # else a retry took its place
            del self._under_way[traced.id]
        ended = perf_counter()
        if traced.span.is_recording():
            self._parts(traced, ended)
        self._finish(traced.span, status)
        traced.span.end(_nanoseconds(ended))

    def request(self, request: Request, started: float, answer: Callable[[], Response]) -> Response:
        """Answer a request of the API within a span; called in the thread that does the work.

        Args:
            request: its ``traceparent`` names the span's parent, but does not decide on sampling.
            started: when it arrived, by ``perf_counter``.
            answer: does the work.
        """
        known = (
            request.method if request.method in METHODS else "_OTHER"
        )  # as OpenTelemetry's conventions have it
        span = self._span(
            "api",
            started,
            {"http.request.method": known},
            self._context(request.headers.get("traceparent", ())),
            self._api.SpanKind.SERVER,
        )
        with self._api.use_span(span, end_on_exit=True):
            found = answer()
            self._finish(span, found.status)
        return found

    def observe(self, line: str, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Make a span of a line in ``LINES``, and give any line of a trace its ``trace_id``."""
        if line in LINES and "duration_ms" in fields:
            ended = perf_counter()
            told = {name: value for name, value in fields.items() if name not in UNTOLD}
            span = self._span(line.partition(".")[0], ended - fields["duration_ms"] / 1000, told)
            if "code" in fields:
                span.set_status(self._api.StatusCode.ERROR)
            span.end(_nanoseconds(ended))
        elif "delivery_id" in fields:
            traced = self._under_way.get(fields["delivery_id"])
            if traced is None:  # one from the spool
                return None
            span = traced.span
        else:
            span = self._api.get_current_span()
            if line == "api.answered" and "caller" in fields:
                span.set_attribute("usher.caller", fields["caller"])
            if line == "api.answered" and "route" in fields:
                span.set_attribute("http.route", fields["route"])
        context = span.get_span_context()
        return {"trace_id": f"{context.trace_id:032x}"} if context.is_valid else None

    def close(self) -> None:
        """Send the last spans, if the collector takes them soon; the SDK waits half a minute."""
        last = Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(CLOSE_SECONDS)
        if last.is_alive():
            get_logger().warning("traces.lost", detail="The collector says nothing at the end.")

    def _context(self, traceparent: Sequence[str]) -> Context:
        """Return the parent named by one well-formed header; else an empty context."""
        from opentelemetry.context import Context  # noqa: PLC0415 - an extra

        carrier = {"traceparent": traceparent[0]} if len(traceparent) == 1 else {}
        return self._contexts.extract(carrier, Context())

    def _span(
        self,
        name: str,
        started: float,
        fields: Mapping[str, Any],
        context: Context | None = None,
        kind: Any = None,
    ) -> Span:
        return self._tracer.start_span(
            name,
            context,
            kind or self._api.SpanKind.INTERNAL,
            {key if "." in key else f"usher.{key}": value for key, value in fields.items()},
            start_time=_nanoseconds(started),
        )

    def _parts(self, traced: Traced, ended: float) -> None:
        began, done, deliveries = traced.transaction or (ended, ended, 0)
        within = self._api.set_span_in_context(traced.span)
        self._part("verify", traced.started, traced.verified, {}, within)
        self._part("queue", traced.verified, began, {}, within)
        if deliveries:
            self._part("transaction", began, done, {"deliveries": deliveries}, within)

    def _part(
        self, name: str, started: float, ended: float, fields: Mapping[str, Any], within: Context
    ) -> None:
        self._span(name, started, fields, within).end(_nanoseconds(ended))

    def _finish(self, span: Span, status: int) -> None:
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(self._api.StatusCode.ERROR)


def _nanoseconds(moment: float) -> int:
    """Convert a time by ``perf_counter`` to nanoseconds since the epoch."""
    return time_ns() - round((perf_counter() - moment) * 1e9)


class _Complaints(logging.Handler):
    """Turns the SDK's complaints about a collector into lines of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        get_logger().warning("traces.lost", detail=record.getMessage()[:300])


def _word_complaints() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.handlers = [_Complaints(logging.WARNING)]
