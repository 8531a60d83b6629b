"""Traces: what a collector gets, that nobody waits for it, and that nothing is loaded unasked."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from runtime import traces
from tests.core.store_support import LogLines
from tests.functions.api_support import JWT_SECRET, bearer
from tests.runtime.test_server import now, signup
from tests.support import ROOT, Server, account, clean_environment, free_port

StartServer = Callable[..., Server]


class Collector:
    """What a collector of OTLP over HTTP is sent."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.path == "/v1/traces"
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever)
        self._thread.start()

    def spans(self) -> list[Span]:
        """All that came."""
        return [
            span
            for request in self.requests
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    """One for this test."""
    found = Collector()
    yield found
    found.close()


def attributes(span: Span) -> dict[str, object]:
    """Names and values."""
    return {a.key: getattr(a.value, str(a.value.WhichOneof("value"))) for a in span.attributes}


def test_events_and_the_api_are_traced_without_anything_personal(
    start_server: StartServer, collector: Collector, database_url: str
) -> None:
    """An event with its two parts, the transaction, and a request; forged ones not at all."""
    server = start_server(
        database_url,
        USHER_JWT_SECRET=JWT_SECRET.decode(),
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    )
    delivery = signup("ada.lovelace@example.com")
    assert server.post(delivery).status == 200
    assert server.post(signup(secret=b"f" * 32)).status == 401
    person = account(email="eve@example.com").id
    me = {"Authorization": f"Bearer {bearer(person, now())}"}
    assert server.pool.request("GET", f"{server.url}/api/me?secret=1", headers=me).status == 400
    server.stop()  # what is left is sent then

    spans = {span.name: span for span in collector.spans()}
    assert set(spans) == {"event", "verify", "store", "transaction", "api"}
    event = spans["event"]
    for part in (spans["verify"], spans["store"]):
        assert (part.trace_id, part.parent_span_id) == (event.trace_id, event.span_id)
        assert event.start_time_unix_nano <= part.start_time_unix_nano + 1_000_000
        assert part.end_time_unix_nano <= event.end_time_unix_nano + 1_000_000
    known = attributes(event)
    assert len(str(known.pop("usher.delivery_id"))) == 72
    assert len(str(known.pop("usher.user_id"))) == 36
    assert known == {
        "usher.event_name": "signup",
        "usher.key_index": 0,
        "http.response.status_code": 200,
    }
    assert attributes(spans["transaction"]) == {"usher.deliveries": 1}
    assert attributes(spans["api"]) == {
        "http.request.method": "GET",
        "http.response.status_code": 400,
    }
    [resource] = {
        a.value.string_value
        for request in collector.requests
        for found in request.resource_spans
        for a in found.resource.attributes
        if a.key == "service.name"
    }
    assert resource == "usher"
    everything = b"".join(request.SerializeToString() for request in collector.requests)
    for personal in (b"lovelace", b"eve@", b"secret=1", b"Bearer", b"eyJ"):
        assert personal not in everything


def test_a_collector_that_is_away_holds_nobody_up(
    start_server: StartServer, sqlite_url: str
) -> None:
    """Events are answered, the log says what was lost, and stopping takes no longer than told."""
    server = start_server(
        sqlite_url,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        OTEL_EXPORTER_OTLP_TIMEOUT="1",
        OTEL_BSP_SCHEDULE_DELAY="50",
    )
    assert [server.post(signup(f"{n}@example.com")).status for n in range(20)] == [200] * 20
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 15
    log = server.log.read_text()
    assert '"event":"traces.lost"' in log
    assert all(line.startswith("{") for line in log.splitlines())


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://[::1]:1", "OTEL_SDK_DISABLED": "TRUE"}, False),
    ],
)
def test_who_asks_for_traces(variables: dict[str, str], expected: bool) -> None:
    """An endpoint does, unless the SDK is disabled."""
    assert traces.wanted(variables) is expected


def test_nothing_of_it_is_loaded_unasked() -> None:
    """A server without an endpoint pays nothing."""
    code = "import sys, runtime.server, runtime.traces as t; assert t.start({}) is None\n"
    code += "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


def test_an_endpoint_without_the_extra_is_said_and_costs_only_the_traces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server runs all the same."""
    log_lines = LogLines()
    module = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, module, None)
    assert traces.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}) is None
    [line] = log_lines()
    assert line["event"] == "traces.unavailable"
    assert "usher[traces]" in line["detail"]


def test_a_step_that_did_something_is_traced_and_an_idle_one_is_not(collector: Collector) -> None:
    """Pushes are looked for every two seconds."""
    one = traces.Traces(OTLPSpanExporter(f"{collector.url}/v1/traces"))
    answers = iter([True, False])
    step = one.step("push", lambda: next(answers))
    assert [step(), step()] == [True, False]
    one.close()
    assert [span.name for span in collector.spans()] == ["push"]
