"""Kill -9 at random moments: under load, while the spool is written, and while it is applied.

Two here; as many as you like with, for instance,
``CRASHES=50 python -m pytest tests/server/test_crashes.py``.
"""

from __future__ import annotations

import os
import random
import time

import pytest

from tests.pipeline.outage_support import locked
from tests.server.outages import Crowd, StartServer, ready, rows, wait_until, whole

CRASHES = int(os.environ.get("CRASHES", "2"))


@pytest.mark.timeout(60 + 30 * CRASHES)
def test_killed_under_load_again_and_again(start_server: StartServer, database_url: str) -> None:
    """After each kill everything acknowledged is there, whole, and once."""
    acknowledged: set[str] = set()
    for _ in range(CRASHES):
        server = start_server(database_url)
        crowd = Crowd(server)
        time.sleep(random.uniform(0.02, 0.8))
        server.kill()
        crowd.finish()
        acknowledged |= {who for who, status in crowd.answers.items() if status in (200, 204)}
        whole(database_url, acknowledged)
    assert acknowledged


@pytest.mark.timeout(60 + 30 * CRASHES)
def test_killed_while_the_spool_is_written_and_while_it_is_applied(
    start_server: StartServer, database_url: str
) -> None:
    """What was acknowledged during an outage is there when all the killing is over."""
    acknowledged: set[str] = set()
    for _ in range(CRASHES):
        server = start_server(database_url)
        with locked(database_url):
            crowd = Crowd(server)
            time.sleep(random.uniform(2.2, 3.2))
            server.kill()
            crowd.finish()
        acknowledged |= {who for who, status in crowd.answers.items() if status in (200, 204)}
        applying = start_server(database_url)
        before = rows(database_url, "SELECT count(*) FROM deliveries")
        time.sleep(random.uniform(0, 0.4))
        applying.kill()
        assert rows(database_url, "SELECT count(*) FROM deliveries") >= before
    last = start_server(database_url)
    wait_until(lambda: ready(last) == "ok")
    assert acknowledged
    whole(database_url, acknowledged)


@pytest.mark.timeout(60 + 30 * CRASHES)
def test_killed_and_started_during_one_outage(start_server: StartServer, database_url: str) -> None:
    """The spool of several that died is applied by the one that lives when it is over."""
    acknowledged: set[str] = set()
    with locked(database_url):
        for _ in range(CRASHES):
            server = start_server(database_url)
            crowd = Crowd(server)
            time.sleep(random.uniform(0.02, 0.8) if acknowledged else 3)
            server.kill()
            crowd.finish()
            acknowledged |= {who for who, status in crowd.answers.items() if status in (200, 204)}
        last = start_server(database_url)
        assert ready(last) == "degraded"
    wait_until(lambda: ready(last) == "ok")
    assert acknowledged
    whole(database_url, acknowledged)


def test_everything_is_answered_in_time_as_an_outage_begins_and_ends_under_load(
    start_server: StartServer, database_url: str
) -> None:
    """No answer takes longer than four seconds, none is an error, and all are there.

    But for the moments in which the machine did not let the clients look.
    """
    server = start_server(database_url)
    crowd = Crowd(server, 16)
    time.sleep(0.5)
    for _ in range(2):
        with locked(database_url):
            time.sleep(3)
        wait_until(lambda: ready(server) == "ok")
    time.sleep(0.5)
    crowd.finish()
    assert set(crowd.answers.values()) <= {200, 204}
    assert max(crowd.seconds) < 4
    whole(database_url, crowd.answers)
