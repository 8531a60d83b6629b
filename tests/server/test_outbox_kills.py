"""Kill -9 of whatever hands changes over, at random moments, while events come in.

A few kills here; as many as you like with, for instance,
``KILLS=50 python -m pytest -n 0 tests/server/test_outbox_kills.py``.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.receivers import Receiver
from tests.server.outbox_kills import KilledSite
from tests.server.waiting import until
from tests.support import Server

KILLS = int(os.environ.get("KILLS", "0"))
KINDS = ("worker", "runner", "handler", "master", "server")


@pytest.fixture
def make_site(
    tmp_path: Path, start_server: Callable[..., Server]
) -> Iterator[Callable[[str], KilledSite]]:
    """Make the site of a test on a database."""
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())

        def make(url: str) -> KilledSite:
            site = KilledSite(url, tmp_path, start_server, receiver)
            stack.callback(site.app.close)
            stack.callback(site.stop)
            return site

        yield make


def plan() -> list[str]:
    """The processes to kill, one after the other."""
    return random.choices(KINDS, k=KILLS) if KILLS else random.sample(KINDS, 2)


@pytest.mark.timeout(300 + 30 * KILLS)
def test_whatever_is_killed_each_change_is_handed_over_in_order_and_no_other(
    make_site: Callable[[str], KilledSite], database_url: str
) -> None:
    """At least once to each handler and sink, always with the same key."""
    site = make_site(database_url)
    site.all_begin()
    for what in plan():
        if random.random() < 0.7:  # else it is killed while it starts
            site.more()
        if KILLS:
            site.sign_up()
        time.sleep(random.uniform(0, 0.8))
        site.kill(what)
    site.everything_is_told()


@pytest.mark.timeout(300 + 30 * KILLS)
def test_two_servers_share_the_work_and_one_takes_over_from_a_dead_one(
    make_site: Callable[[str], KilledSite], postgresql_url: str
) -> None:
    """Which is killed while it holds leases: nothing is lost, and each person's order stays."""
    site = make_site(postgresql_url)
    site.all_begin()
    other = site.begin("other")
    until(lambda: site.servers() == {"server", "other"})
    assert site.kill_with_leases()
    site.server = other
    site.more()
    if not KILLS:
        site.end_leases("server")
    until(lambda: not site.held("server"))
    site.everything_is_told()
