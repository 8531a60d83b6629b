"""A database that says no, or that cannot be trusted: events wait at Identity, and none is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.netlify.bootstrapped import bootstrapped, inside
from tests.netlify.functions import Functions
from tests.pgbouncer import PROGRAM, pgbouncer
from tests.pipeline.test_refusals import EVERY_POSTGRESQL, ONE_POSTGRESQL, World
from tests.receivers import Certificates
from tests.store import test_pg8000
from tests.store.grants import least_privileged, run
from tests.store.store_support import counts, rows
from tests.support import Signed, account, free_port, signed
from usher.core.store.database import Database

certificates = test_pg8000.certificates
tls_port = test_pg8000.tls_port


@pytest.fixture
def world(postgresql_url: str) -> Iterator[World]:
    """PostgreSQL, and a role with the rights of the documentation."""
    with least_privileged(postgresql_url) as url:
        yield World(url, postgresql_url)


@pytest.fixture
def instance(
    world: World, site: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Functions]:
    """The functions, by that role."""
    url = inside(world.app_url)
    with bootstrapped(site, tmp_path_factory, {"USHER_DATABASE_URL": url}) as running:
        yield running


def signup(email: str, **fields: Any) -> Signed:
    """A signup of somebody new."""
    return signed("signup", account(email=email, **fields), at=datetime.now(UTC))


def test_i2_what_refuses_every_event_is_answered_503_and_keeps_nothing(
    world: World, instance: Functions
) -> None:
    """Each state in turn, in one process; the retry after it ended has its effect."""
    database = Database(world.admin_url)
    found: dict[str, object] = {}
    # An instance of Identity is written once, with the first event.
    faults = sorted(EVERY_POSTGRESQL, key=lambda fault: fault.name != "INSERT on instances")
    for number, fault in enumerate(faults):
        event, before = signup(f"{number}@example.com"), counts(database)
        with world.broken(fault):
            told = instance.deliver(event)
        kept = counts(database) == before
        again = instance.deliver(event)
        now = counts(database)["deliveries"] - before["deliveries"]
        if (told.status, kept, again.status, now) != (503, True, 200, 1):
            found[fault.name] = (told, kept, again, now)
    database.dispose()
    assert found == {}


def test_i2_what_refuses_one_event_is_kept_as_failed_and_decided_anew(
    world: World, instance: Functions
) -> None:
    """500 for that one, its neighbours are served; sent again after the cause is gone, it is."""
    database = Database(world.admin_url)
    large = {"about": "".join(f"{n * n * 7919 % 99991:05}" for n in range(3_000))}
    found: dict[str, object] = {}
    for number, fault in enumerate(ONE_POSTGRESQL):
        run(world.admin_url, "TRUNCATE users, grants, deliveries, audit")
        assert instance.deliver(signup("first@example.com")).status == 200
        event = signup(f"bob{number}@somewhere.example", user_metadata=large)
        with world.broken(fault):
            told = instance.deliver(event)
            neighbour = instance.deliver(signup(f"ada{number}@example.com"))
            outcomes = rows(
                database, "SELECT outcome FROM deliveries ORDER BY sequence DESC LIMIT 2"
            )
        again = instance.deliver(event)
        seen = (told.status, neighbour.status, outcomes, again.status)
        if seen != (500, 200, [("applied",), ("failed",)], 200):
            found[fault.name] = seen
    database.dispose()
    assert found == {}


def answers(site: Path, factory: pytest.TempPathFactory, url: str, **variables: str) -> list[int]:
    """The statuses of an event and of its retry, and of the API's, on this database."""
    event = signup("ada@example.com")
    with bootstrapped(site, factory, {"USHER_DATABASE_URL": url, **variables}) as running:
        return [running.deliver(event).status, running.deliver(event).status]


def test_only_a_certificate_that_proves_the_servers_name_is_believed(
    site: Path,
    tls_port: int,
    certificates: Certificates,
    postgresql_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """By Node's own authorities, and those that NODE_EXTRA_CA_CERTS adds; else 503."""
    url = "postgresql://postgres@{}/postgres?sslmode=require"
    known = {"NODE_EXTRA_CA_CERTS": str(certificates.authority)}
    ip, name = (url.format(f"{host}:{tls_port}") for host in ("127.0.0.1", "localhost"))
    database = Database(postgresql_url)
    assert answers(site, tmp_path_factory, ip) == [503, 503]
    assert answers(site, tmp_path_factory, name, **known) == [503, 503]
    assert counts(database)["deliveries"] == 0
    assert answers(site, tmp_path_factory, ip, **known) == [200, 200]
    assert counts(database)["deliveries"] == 1
    database.dispose()


@pytest.mark.skipif(PROGRAM is None, reason="NOT RUN: this needs pgbouncer")
def test_a_server_without_tls_and_a_wrong_password_are_a_database_that_is_away(
    site: Path, postgresql_url: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """503; where nothing is said of TLS, it is needed, and the password shows in no answer."""
    log = tmp_path / "log"
    with pgbouncer(postgresql_url, password="right") as pooled:
        url = inside(pooled)
        event = signup("ada@example.com")
        right = url + "?sslmode=disable"
        variables = {"USHER_DATABASE_URL": url}
        with bootstrapped(site, tmp_path_factory, variables, log) as running:
            told = [running.deliver(event)]
            for other in (right.replace(":right@", ":wrong@"), right.replace(":right@", "@")):
                told.append(running.deliver(event, env={"USHER_DATABASE_URL": other}))
            gone = make_url(right).set(port=free_port()).render_as_string(hide_password=False)
            told.append(running.deliver(event, env={"USHER_DATABASE_URL": gone}))
            assert [answer.status for answer in told] == [503] * 4
            assert running.deliver(event, env={"USHER_DATABASE_URL": right}).status == 200
            for answer in told:
                assert b"right" not in answer.body
                assert answer.document["code"] == "database_unavailable"
        written = log.read_text()
        assert "TLS" in written or "SSL" in written
        assert "right" not in written
        assert "wrong" not in written
