"""``/metrics``: the server's numbers, for Prometheus.

Metrics follow the log: an observer of its lines counts deliveries, refusals and answers, so the two
cannot disagree. Labels take a bounded number of values. None is an id, an address or anything else
that a stranger chooses.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from usher.core.errors import MethodNotAllowedError, NotFoundError, UnauthenticatedError
from usher.core.jws import constant_time_equal
from usher.functions._shared.http import Request, Response
from usher.server.serve import FOLDER_VARIABLE

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Buckets up to five seconds, which is how long Identity waits for an answer."""
DELIVERIES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_BEARER = re.compile(r"bearer +([!-~]+) *", re.IGNORECASE | re.ASCII)


class Metrics:
    """The numbers of one worker process, or the sum of all where they share a folder.

    Args:
        token: the bearer token for readers; None: nobody may read.
        environ: names the shared folder, where there are several workers.
    """

    def __init__(self, token: str | None, environ: Mapping[str, str] = os.environ) -> None:
        self._token = token
        self._registry = registry = CollectorRegistry()
        # Each of several workers writes its numbers into files; the one that is asked adds them.
        self._folder = environ.get(FOLDER_VARIABLE)
        if not self._folder:
            ProcessCollector(registry=registry)
        deliveries = Counter(
            "usher_deliveries",
            "Deliveries with a good signature, by what became of them.",
            ("event", "outcome"),
            registry=registry,
        )
        self._rejected = Counter(
            "usher_signatures_rejected",
            "Deliveries refused with 401, by the check that failed.",
            ("reason",),
            registry=registry,
        )
        self._splits = Counter(
            "usher_batch_splits", "Shared transactions that failed.", registry=registry
        )
        self._failures = Counter(
            "usher_failures", "Requests answered 500 or 503, other than events.", registry=registry
        )
        self._too_large = Counter(
            "usher_bodies_refused",
            "Requests refused with 413, events among them.",
            registry=registry,
        )
        self._codes = Counter(
            "usher_codes_refused",
            "Invitation codes that somebody gave and that cannot be used.",
            registry=registry,
        )
        event_seconds = Histogram(
            "usher_event_seconds",
            "From the whole body of an event to its answer, by the first digit of the status.",
            ("status",),
            buckets=SECONDS,
            registry=registry,
        )
        self._batch = Histogram(
            "usher_batch_deliveries",
            "How many deliveries shared a transaction.",
            buckets=DELIVERIES,
            registry=registry,
        )
        self._api = Counter(
            "usher_api_requests",
            "Answers of the API.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._api_seconds = Histogram(
            "usher_api_seconds",
            "How long the API worked on an answer.",
            buckets=SECONDS,
            registry=registry,
        )

        # Cached: every event pays for the lookup, and building its key anew costs twice as much.
        self._delivery = cache(deliveries.labels)
        self._answered = cache(event_seconds.labels)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Register a gauge that is read on request; not offered with several workers.

        Args:
            name: begins with ``usher_``; docs/metrics.md describes it.
            text: the gauge's help.
            read: called in a thread; must be quick and touch no database.
        """
        if not self._folder:
            Gauge(name, text, registry=self._registry).set_function(read)

    def measured(self, name: str, text: str) -> Gauge:
        """Register a gauge of the whole site; the newest value of any worker counts.

        Args:
            name: begins with ``usher_``; docs/metrics.md describes it.
            text: the gauge's help.
        """
        return Gauge(name, text, registry=self._registry, multiprocess_mode="mostrecent")

    def observe(self, line: str, fields: Mapping[str, Any]) -> None:
        """Count a log line."""
        noun, _, verb = line.partition(".")
        if noun == "event":
            self._delivery(fields.get("event_name", "none"), verb).inc()
        elif line == "signature.rejected":
            self._rejected.labels(fields["reason"]).inc()
        elif line == "batch.split":
            self._splits.inc()
        elif line == "request.failed":
            self._failures.inc()
        elif line == "code.refused":
            self._codes.inc(fields["times"])
        elif line == "request.too_large":
            self._too_large.inc()
        elif line == "api.answered":
            method = fields["method"] if fields["method"] in METHODS else "other"
            route = fields.get("route", "none")
            self._api.labels(method, route, _family(fields["status"])).inc()
            self._api_seconds.observe(fields["duration_ms"] / 1000)

    def event_answered(self, status: int, seconds: float) -> None:
        """Count an answered event; ``seconds`` run from its whole body to its answer."""
        self._answered(_family(status)).observe(seconds)

    def batch(self, deliveries: int) -> None:
        """Count a transaction that begins with this number of deliveries."""
        self._batch.observe(deliveries)

    def answer(self, request: Request) -> Response:
        """Return the page.

        Raises:
            NotFoundError: no token is configured.
            UnauthenticatedError: the request shows another token, or none.
            MethodNotAllowedError: neither GET nor HEAD.
        """
        if self._token is None:
            raise NotFoundError
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowedError(request.method, ("GET", "HEAD"))
        shown = [_BEARER.fullmatch(text) for text in request.headers.get("authorization", ())]
        if len(shown) != 1 or not shown[0] or not constant_time_equal(shown[0][1], self._token):
            raise UnauthenticatedError(
                "metrics_token", "Send Authorization: Bearer, a space, and USHER_METRICS_TOKEN."
            )
        registry = self._registry
        if self._folder:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, self._folder)  # type: ignore[no-untyped-call]
        return Response(200, generate_latest(registry).decode(), CONTENT_TYPE)


def _family(status: int) -> str:
    return f"{status // 100}xx"
