"""OpenTelemetry traces of the server, where the extra ``traces`` is installed and asked for.

The standard variables configure it; without an endpoint (``OTEL_EXPORTER_OTLP_ENDPOINT``, or
``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT``) nothing is loaded. Spans are made when what they tell of is
over, and sent by a thread of their own, which drops them when it cannot keep up: neither an event
nor the API ever waits for a collector. An attribute is what a field of the log may be: an id, a
status, a rule; never an address, a token or a body.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import wraps
from time import perf_counter, time_ns
from typing import TYPE_CHECKING, Any, Final

from core.log import get_logger
from runtime.metrics import METHODS

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
DISABLED: Final = "OTEL_SDK_DISABLED"

Attributes = Mapping[str, str | int | bool]


def wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for traces."""
    disabled = environ.get(DISABLED, "").lower() == "true"
    return any(environ.get(name) for name in ENDPOINTS) and not disabled


def start(environ: Mapping[str, str] = os.environ) -> Traces | None:
    """The traces of this process; None where nobody asked, or the extra is not installed."""
    if not wanted(environ):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 - extra
            OTLPSpanExporter,
        )
    except ImportError:
        get_logger().error(
            "traces.unavailable", detail="An endpoint is set, but not installed: usher[traces]."
        )
        return None
    return Traces(OTLPSpanExporter())


class Traces:
    """Makes spans of what is over, and has them sent.

    Args:
        exporter: sends them; called in a thread of its own.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        name = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "usher"}
        self._provider = TracerProvider(resource=Resource.create(name), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("usher")
        self._api = trace
        _word_complaints()

    def event(self, started: float, verified: float, fields: Attributes, status: int) -> None:
        """An event that was verified, and is answered now.

        Args:
            started, verified: when, by ``perf_counter``.
            fields: what a line of the log says of it.
        """
        ended = perf_counter()
        whole = self._span("event", started, fields, server=True)
        within = self._api.set_span_in_context(whole)
        self._end(self._span("verify", started, {}, within), verified)
        self._end(self._span("store", verified, {}, within), ended)
        self._finish(whole, status, ended)

    def request(self, method: str, started: float, status: int) -> None:
        """A request of the API that is answered now."""
        known = method if method in METHODS else "_OTHER"  # as OpenTelemetry's conventions have it
        span = self._span("api", started, {"http.request.method": known}, server=True)
        self._finish(span, status, perf_counter())

    def work(self, name: str, started: float, fields: Attributes) -> None:
        """Something that no request waits for, or many share, and that is done now."""
        self._end(self._span(name, started, fields), perf_counter())

    def step(self, name: str, step: Callable[[], bool]) -> Callable[[], bool]:
        """``step``, with a span for each that did something."""

        @wraps(step)
        def traced() -> bool:
            started = perf_counter()
            more = step()
            if more:
                self.work(name, started, {})
            return more

        return traced

    def close(self) -> None:
        """Send what is left, for as long as ``OTEL_BSP_EXPORT_TIMEOUT`` allows."""
        self._provider.shutdown()

    def _span(
        self,
        name: str,
        started: float,
        fields: Attributes,
        context: Any = None,
        *,
        server: bool = False,
    ) -> Span:
        kind = self._api.SpanKind.SERVER if server else self._api.SpanKind.INTERNAL
        return self._tracer.start_span(
            name,
            context,
            kind,
            {key if "." in key else f"usher.{key}": value for key, value in fields.items()},
            start_time=_nanoseconds(started),
        )

    def _finish(self, span: Span, status: int, ended: float) -> None:
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(self._api.StatusCode.ERROR)
        self._end(span, ended)

    @staticmethod
    def _end(span: Span, ended: float) -> None:
        span.end(_nanoseconds(ended))


def _nanoseconds(moment: float) -> int:
    """A moment by ``perf_counter`` as time since the epoch."""
    return time_ns() - round((perf_counter() - moment) * 1e9)


class _Complaints(logging.Handler):
    """What the SDK has to say of a collector, as a line of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        get_logger().warning("traces.lost", detail=record.getMessage()[:300])


def _word_complaints() -> None:
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.handlers = [_Complaints(logging.WARNING)]
