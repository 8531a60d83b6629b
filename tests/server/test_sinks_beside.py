"""Sinks beside a running server, which begins to hand over to them once there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from msgspec import json
from standardwebhooks import Webhook

from tests.receivers import Receiver
from tests.server.outbox_site import LOOPBACK, Site, processes_of
from tests.server.waiting import until
from tests.support import Server

RUNNER = "usher.server.outbox_process"


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """A site without handlers."""
    made = Site(database_url)
    yield made
    made.app.close()


def test_a_running_server_notices_its_first_sink_and_whether_it_is_paused(
    site: Site, database_url: str, start_server: Callable[..., Server]
) -> None:
    """No process hands over before; what comes in a pause is sent after it, in order."""
    server = start_server(database_url, USHER_SINK_NETWORKS=LOOPBACK)
    site.grant()
    assert processes_of(server, RUNNER) == []
    with Receiver() as receiver:
        url = f"http://127.0.0.1:{receiver.port}/"
        sinks = site.app.sinks
        sink, secret = sinks.add(url, ["role.*"], "cli:ada")
        site.granted.clear()
        site.grant()

        def told() -> dict[str, list[str]]:
            found: dict[str, list[str]] = {str(each): [] for each in site.people}
            for came in receiver.came:
                Webhook(secret).verify(came.body.decode(), came.headers)
                data = json.decode(came.body)["data"]
                found[data["user_id"]].append(data["role"])
            return found

        until(lambda: told() == site.granted)
        assert len(processes_of(server, RUNNER)) == 1
        sinks.pause(sink.id, "cli:ada")
        site.grant()
        assert told() != site.granted
        sinks.resume(sink.id, "cli:ada")
        until(lambda: told() == site.granted)
    site.app.sinks.remove(sink.id, "cli:ada")
    server.stop()
    assert "outbox.ended" not in server.log.read_text()
