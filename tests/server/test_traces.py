"""Traces: what a collector gets, that nobody waits for it, and that nothing is loaded unasked."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import perf_counter

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.api.api_support import JWT_SECRET, bearer
from tests.server.test_server import now, signup
from tests.store.store_support import LogLines
from tests.support import ROOT, Server, account, clean_environment, free_port, signed
from usher.core import log
from usher.functions._shared.http import Request, Response
from usher.server import traces

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


TRACE = "0af7651916cd43dd8448eb211c80319c"
THEIRS = "b7ad6b7169203331"


def test_events_the_api_and_pushes_are_traced_without_anything_personal(
    start_server: StartServer, collector: Collector, database_url: str
) -> None:
    """An event with its parts, requests of the API with the push that one makes; no forged ones."""
    server = start_server(
        database_url,
        USHER_JWT_SECRET=JWT_SECRET.decode(),
        USHER_IDENTITY_URL=f"http://127.0.0.1:{free_port()}",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
    )
    owner = account(email="owner@example.com", at=now())
    assert server.post(signed("signup", owner, at=now())).status == 200
    assert server.post(signup(secret=b"f" * 32)).status == 401
    headers = {
        "Authorization": f"Bearer {bearer(owner.id, now())}",
        "traceparent": f"00-{TRACE}-{THEIRS}-00",
    }
    url = f"{server.url}/api/users/{owner.id}/roles/editor"
    assert server.pool.request("PUT", url, headers=headers).status == 200
    assert server.pool.request("GET", f"{server.url}/api/me?secret=1").status == 401
    server.stop()  # what is left is sent then

    spans = {(span.name, span.trace_id.hex() == TRACE): span for span in collector.spans()}
    event = spans.pop(("event", False))
    parts = [spans.pop((name, False)) for name in ("verify", "queue", "transaction")]
    since = event.start_time_unix_nano
    for part in parts:
        assert (part.trace_id, part.parent_span_id) == (event.trace_id, event.span_id)
        assert abs(part.start_time_unix_nano - since) < 1_000_000
        since = part.end_time_unix_nano
    assert since <= event.end_time_unix_nano + 1_000_000
    assert attributes(parts[2]) == {"usher.deliveries": 1}
    known = attributes(event)
    delivery = known.pop("usher.delivery_id")
    assert len(str(delivery)) == 72
    assert known == {
        "usher.event_name": "signup",
        "usher.user_id": str(owner.id),
        "usher.key_index": 0,
        "http.response.status_code": 200,
    }
    request, push = spans.pop(("api", True)), spans.pop(("push", True))
    assert request.parent_span_id.hex() == THEIRS
    assert push.parent_span_id == request.span_id
    assert request.start_time_unix_nano < push.start_time_unix_nano
    assert push.end_time_unix_nano < request.end_time_unix_nano
    assert attributes(request) == {
        "http.request.method": "PUT",
        "http.route": "/users/{id}/roles/{role}",
        "usher.caller": str(owner.id),
        "http.response.status_code": 200,
    }
    assert attributes(push) == {
        "usher.user_id": str(owner.id),
        "usher.tries": 1,
        "usher.code": "identity_unavailable",
    }
    stranger = spans.pop(("api", False))
    assert attributes(stranger)["http.response.status_code"] == 401
    assert {name for name, _ in spans} <= {"push"}  # tried again by the server itself
    [resource] = {
        a.value.string_value
        for request in collector.requests
        for found in request.resource_spans
        for a in found.resource.attributes
        if a.key == "service.name"
    }
    assert resource == "usher"
    everything = b"".join(request.SerializeToString() for request in collector.requests)
    for personal in (b"owner@", b"secret=1", b"Bearer", b"eyJ"):
        assert personal not in everything

    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    traced = [(line["event"], line.get("trace_id")) for line in lines]
    assert traced.pop(0) == ("instance.adopted", None)
    assert traced[:3] == [
        ("event.applied", event.trace_id.hex()),
        ("signature.rejected", None),
        ("push.failed", TRACE),
    ]
    assert ("api.answered", TRACE) in traced
    assert ("api.answered", stranger.trace_id.hex()) in traced


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
    server.stop()
    text = server.log.read_text()
    assert '"event":"traces.lost"' in text
    assert all(line.startswith("{") for line in text.splitlines())


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
    code = "import sys, usher.server.app, usher.server.traces as t; assert t.start({}) is None\n"
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
    assert "Run: pip install 'usher-identity[traces]'" in line["detail"]


def test_lines_of_what_is_over_make_spans(collector: Collector) -> None:
    """A push and a sync, with what the line says, but not its detail, which may quote Identity."""
    lines = LogLines()
    one = traces.Traces(OTLPSpanExporter(f"{collector.url}/v1/traces"))
    log.observe(one.observe)
    logger = log.get_logger()
    logger.info("push.done", user_id="u", tries=2, settled=True, duration_ms=1_500.0)
    logger.warning("sync.stopped", run_id="r", code="c", detail="a@b.c", duration_ms=2.0)
    logger.warning("push.failed", user_id="u", tries=0, code="c")  # was not even begun
    logger.info("sync.begun", run_id="r")
    one.close()
    push, sync = collector.spans()
    assert (push.name, sync.name) == ("push", "sync")
    assert attributes(push) == {"usher.user_id": "u", "usher.tries": 2, "usher.settled": True}
    assert attributes(sync) == {"usher.run_id": "r", "usher.code": "c"}
    assert push.end_time_unix_nano - push.start_time_unix_nano == pytest.approx(1.5e9, rel=0.01)
    assert (push.status.code, sync.status.code) == (0, 2)
    found = [line.get("trace_id") for line in lines()]
    assert found == [push.trace_id.hex(), sync.trace_id.hex(), None, None]


@pytest.mark.parametrize(
    ("sampler", "kept"), [("always_on", 40), ("traceidratio", 0), ("parentbased_always_off", 0)]
)
@pytest.mark.parametrize("flag", ["00", "01"])
def test_who_asks_does_not_decide_what_is_kept(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, sampler: str, kept: int, flag: str
) -> None:
    """Neither by the flag, nor by a trace id that a ratio would keep; a broken header is none."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.000001")
    one = traces.Traces(OTLPSpanExporter(f"{collector.url}/v1/traces"))
    theirs = f"{1:032x}"
    headers = [f"00-{theirs}-{THEIRS}-{flag}"] * 2
    for sent in (headers[:1], headers):
        for _ in range(20):
            asked = Request("GET", "/api/me", {"traceparent": tuple(sent)}, b"")
            one.request(asked, perf_counter(), lambda: Response(200))
    one.close()
    spans = collector.spans()
    assert len(spans) == kept
    assert [span.trace_id.hex() for span in spans].count(theirs) == kept // 2


def test_what_is_answered_is_not_remembered() -> None:
    """A retry that comes while the first is under way, an exception, a spool's delivery later."""
    one = traces.Traces(OTLPSpanExporter("http://127.0.0.1:1/v1/traces", timeout=0.001))
    first, again = (one.begin(perf_counter(), {"delivery_id": "d"}) for _ in range(2))
    one.transaction(["d", "unknown"], perf_counter())
    assert (first.transaction, again.transaction is None) == (None, False)
    one.end(first, 200)
    assert one.observe("event.repeated", {"delivery_id": "d"}) is not None
    one.end(again, 500)
    assert one.observe("event.applied", {"delivery_id": "d"}) is None
    assert one._under_way == {}
    one.close()


def test_a_collector_that_says_nothing_does_not_hold_up_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it has not taken by then is lost."""
    monkeypatch.setattr(traces, "CLOSE_SECONDS", 0.1)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        one = traces.Traces(
            OTLPSpanExporter(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces", timeout=2)
        )
        one.request(Request("GET", "/api/me", {}, b""), perf_counter(), lambda: Response(200))
        lines = LogLines()
        one.close()
        assert [line["event"] for line in lines()] == ["traces.lost"]  # told before it gave up
