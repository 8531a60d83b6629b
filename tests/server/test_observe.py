"""Observe mode at a real server: no event is answered anything but 204."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from datetime import UTC, datetime

from tests.support import Server, account, signed
from usher.core.bounds import MAX_EVENT_BYTES


def test_every_event_is_204_and_the_log_says_so_at_the_start(
    start_server: Callable[..., Server], sqlite_url: str
) -> None:
    """Refused people, events that are too large to be read; but nothing without a signature."""
    server = start_server(sqlite_url, USHER_MODE="observe")
    log = server.log.read_text()
    assert '"event":"mode.observe","level":"warning"' in log
    assert "USHER_MODE is observe: every event is answered 204" in log
    now = datetime.now(UTC)
    refused = signed("signup", account(email="x@mailinator.com", at=now), at=now)
    assert server.post(refused).status == 204
    unsigned = {"Content-Type": "application/json"}
    for headers, size, status in (
        (refused.headers, MAX_EVENT_BYTES + 1, 204),
        (unsigned, MAX_EVENT_BYTES + 1, 413),
        (unsigned, 2, 401),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.putrequest("POST", "/.netlify/functions/identity")
        for name, value in (headers | {"Content-Length": str(size)}).items():
            connection.putheader(name, value)
        connection.endheaders(b"{}" if size == 2 else b"")  # a larger one is not waited for
        assert connection.getresponse().status == status
        connection.close()
