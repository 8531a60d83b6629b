"""The Lambda entry under Lambda's own runtime: what it takes, refuses, loads and looks after."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.contract.cases import HOOK, JSON, Case
from tests.contract.gateways import url
from tests.contract.runtime_api import Function, InvocationError, function
from tests.contract.world import VARIABLES, body_of, signature
from tests.support import ROOT, Clock, account, signed, verified
from usher import aws_lambda
from usher.core.app import App, use
from usher.core.door import ADDRESS_PER_MINUTE, render
from usher.core.errors import RequestError
from usher.core.settings import Settings
from usher.core.store.filters import DeliveryFilters

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="awslambdaric runs on Linux only")
Start = Callable[..., AbstractContextManager[Function]]


@pytest.fixture
def start(tmp_path: Path, policy_file: Path) -> Start:
    """Start the function, settings included but for the database."""
    settings: dict[str, Any] = VARIABLES | {"USHER_POLICY": str(policy_file)}
    return partial(function, tmp_path, **settings)


def post(body: bytes, *, sign: bool = True) -> dict[str, Any]:
    """An event of Identity by a function URL, signed just now."""
    headers = (JSON, ("X-Webhook-Signature", signature(body, int(datetime.now(UTC).timestamp()))))
    sent = headers if sign else (JSON,)
    return url(
        Case(name="", part="hook", method="POST", target=HOOK, status=0, headers=sent, body=body)
    )


def get(path: str) -> dict[str, Any]:
    """A request by a function URL."""
    return url(Case(name="", part="api", method="GET", target=path, status=0))


def test_door_without_a_named_limit_is_refused(start: Start, postgresql_url: str) -> None:
    """Nothing here counts by address; the log names the setting that says what does."""
    settings = {"USHER_DATABASE_URL": postgresql_url, "USHER_DOOR": "on"}
    with start(**settings, USHER_DOOR_LIMIT="") as running:
        for event in (post(body_of("signup", "one")), get("/healthz"), get("/api/health")):
            answer = running.invoke(event)
            assert answer["statusCode"] == 500
            assert '"code":"settings_invalid"' in answer["body"]
        with pytest.raises(InvocationError, match="USHER_DOOR_LIMIT"):
            running.invoke({"usher": "maintenance"})


def test_door_with_a_named_limit_tells_why(start: Start, postgresql_url: str) -> None:
    """As the server does. A look-up that a slow machine is too late with is made again."""
    message = render("Please use an address that lasts.")
    body = b'{"email":"four@mailinator.com"}'
    asked = Case(
        name="", part="api", method="POST", target="/api/door", status=0, headers=(JSON,), body=body
    )
    with start(USHER_DATABASE_URL=postgresql_url) as running:
        denied = post(body_of("validate", "four", "four@mailinator.com"))
        assert running.invoke(denied)["statusCode"] == 403
        answers = (running.invoke(url(asked)) for _ in range(ADDRESS_PER_MINUTE))
        assert any((one["statusCode"], one["body"]) == (200, message) for one in answers)


def test_sqlite_is_refused(start: Start, tmp_path: Path) -> None:
    """Nothing is kept on a disk that goes away; the log says what to do instead."""
    with start(USHER_DATABASE_URL=f"sqlite:///{tmp_path}/usher.db") as running:
        for event in (post(body_of("signup", "one")), get("/healthz"), get("/api/health")):
            answer = running.invoke(event)
            assert answer["statusCode"] == 500
            assert '"code":"settings_invalid"' in answer["body"]
            assert "sqlite" not in answer["body"].lower()
        with pytest.raises(InvocationError, match="SQLite"):
            running.invoke({"usher": "maintenance"})
        failed = [line for line in running.lines() if line["event"] == "request.failed"]
        assert all("use postgresql+psycopg://" in line["detail"] for line in failed)
        assert len(failed) == 3
    assert not (tmp_path / "usher.db").exists()


def test_an_event_is_answered_after_its_commit(start: Start, postgresql_url: str) -> None:
    """And the next invocation finds what the one before left."""
    with start(USHER_DATABASE_URL=postgresql_url) as running:
        body = body_of("signup", "one")
        assert running.invoke(post(body))["statusCode"] == 200
        assert running.invoke(post(body, sign=False))["statusCode"] == 401
        events = [line["event"] for line in running.lines()]
    assert events == ["instance.adopted", "event.applied", "signature.rejected"]


def test_d1_of_two_instances_the_function_adopts_the_first(
    start: Start, postgresql_url: str
) -> None:
    """A cold start later it is the same one."""
    who, stranger = account(email="ada@x.org"), UUID(int=8)

    def send(running: Function, event: str, instance_id: UUID) -> int:
        now = datetime.now(UTC)
        made = signed(event, who, at=now, instance_id=instance_id)
        headers = (JSON, ("X-Webhook-Signature", made.headers["X-Webhook-Signature"]))
        case = Case(name="", part="hook", method="POST", target=HOOK, status=0, headers=headers,
                    body=made.body)  # fmt: skip
        return int(running.invoke(url(case))["statusCode"])

    for event, instance_id, status in (
        ("signup", UUID(int=7), 200), ("login", stranger, 401), ("userdeleted", stranger, 204),
    ):  # fmt: skip
        with start(USHER_DATABASE_URL=postgresql_url) as running:
            assert send(running, event, instance_id) == status


def test_without_a_server_nothing_is_kept_while_the_database_is_away(start: Start) -> None:
    """Nobody would be there to apply it: Identity is asked to come again, and readiness says so."""
    nowhere = "postgresql+psycopg://usher@127.0.0.1:1/usher"
    with start(USHER_DATABASE_URL=nowhere) as running:
        for event in (post(body_of("signup", "one")), get("/readyz")):
            answer = running.invoke(event)
            assert answer["statusCode"] == 503
            assert '"code":"database_unavailable"' in answer["body"]
        assert [line["event"] for line in running.lines()] == ["event.failed", "request.failed"]


def test_a_stage_is_no_part_of_the_address() -> None:
    """Only where it stands in front, and only one."""
    for path, stage, encoded, found in (
        ("/live/api/me", "live", False, "/api/me"),
        ("/live/live/api/me", "live", False, "/live/api/me"),
        ("/lively/api/me", "live", False, "/lively/api/me"),
        ("/api/me", "$default", False, "/api/me"),
        ("/live/api/me", "live", True, "/live/api/me"),
        ("/a%2520b", "live", False, "/a%2520b"),
        ("/a%2520b", "live", True, "/a%20b"),
    ):
        host = "x.lambda-url.eu-central-1.on.aws" if encoded else "x.execute-api"
        about = {"stage": stage, "domainName": host, "http": {"method": "GET"}}
        event = {"version": "2.0", "rawPath": path, "requestContext": about}
        assert aws_lambda.read_request(event).path == found


@pytest.mark.parametrize(
    "event", [{}, {"Records": []}, {"version": "2.0", "requestContext": {}}, {"usher": "dance"}]
)
def test_what_is_no_request_is_an_error_of_the_invocation(event: dict[str, Any]) -> None:
    """Another service was pointed at the function: Lambda counts it, and says it."""
    with pytest.raises(RequestError, match="no HTTP request"):
        aws_lambda.handler(event, Late(0))


class Late:
    """A context with this much time left at each look; the last value stays."""

    def __init__(self, *left: int) -> None:
        self.left = list(left)

    def get_remaining_time_in_millis(self) -> int:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


@pytest.fixture
def old_deliveries(
    postgresql_url: str, make_settings: Callable[..., Settings]
) -> Callable[[int], App]:
    """An App whose ledger has so many deliveries past their time."""

    def fill(count: int) -> App:
        then = datetime.now(UTC) - timedelta(days=100)
        clock = Clock(then)
        usher = App(make_settings(database_url=postgresql_url), clock)
        who = account(at=then)
        logins = [signed("login", who, at=then - timedelta(seconds=n)) for n in range(count)]
        usher.webhooks.process([verified(usher.webhooks, each, then) for each in logins])
        clock.now = datetime.now(UTC)
        return usher

    return fill


def test_the_upkeep_of_a_server_is_done_on_request(
    start: Start, postgresql_url: str, old_deliveries: Callable[[int], App]
) -> None:
    """A schedule asks for it; what is too old goes, however much that is."""
    usher = old_deliveries(250)
    with start(USHER_DATABASE_URL=postgresql_url) as running:
        assert running.invoke({"usher": "maintenance"}) == {"done": True}
        counts = [
            line["deliveries"] for line in running.lines() if line["event"] == "maintenance.done"
        ]
    assert sum(counts) == 250
    assert usher.store.ledger.page(DeliveryFilters(), limit=1, cursor=None).items == ()
    usher.close()


def test_upkeep_stops_before_lambda_stops_it(old_deliveries: Callable[[int], App]) -> None:
    """The rest waits for the next time."""
    with use(old_deliveries(250)):
        assert aws_lambda.handler({"usher": "maintenance"}, Late(4_000)) == {"done": False}
        assert aws_lambda.handler({"usher": "maintenance"}, Late(60_000)) == {"done": True}


def test_a2_maintenance_writes_how_many_requests_were_refused_for_their_size(
    old_deliveries: Callable[[int], App],
) -> None:
    """A function whose next event does not come tells of them all the same."""
    with use(old_deliveries(1)) as usher:
        large = post(b"x" * 300_000, sign=False)
        assert aws_lambda.handler(large, Late(60_000))["statusCode"] == 413
        assert usher.oversized.since(usher.clock()) == {}
        assert aws_lambda.handler({"usher": "maintenance"}, Late(60_000)) == {"done": True}
        assert usher.oversized.since(usher.clock())["request"].count == 1


def test_an_upkeep_that_fails_is_an_error_of_the_invocation(start: Start) -> None:
    """Lambda counts it and tries again; the log says why."""
    nowhere = "postgresql+psycopg://usher@127.0.0.1:1/usher"
    with start(USHER_DATABASE_URL=nowhere) as running:
        with pytest.raises(InvocationError, match="database"):
            running.invoke({"usher": "maintenance"})
        [line] = [line for line in running.lines() if line["event"] == "maintenance.failed"]
    assert line["code"] == "database_unavailable"


LOADED = """
import json, sys
from usher import aws_lambda
def handler(event, context):
    answer = aws_lambda.handler(event, context) if event else None
    return {"answer": answer, "loaded": sorted(sys.modules)}
"""
HEAVY = {"sqlalchemy", "sqlmodel", "psycopg", "pydantic", "urllib3"}
NEVER = {"alembic", "click", "granian", "dotenv", "uvloop", "emulator", "cli"}


def test_a_cold_start_loads_only_what_it_uses(
    start: Start, postgresql_url: str, tmp_path: Path
) -> None:
    """A forged event costs a signature check; SQL comes with the first that is good."""
    (tmp_path / "probe.py").write_text(LOADED)
    path = f"{ROOT}:{tmp_path}"
    variables = {"USHER_DATABASE_URL": postgresql_url, "PYTHONPATH": path}
    with start(handler="probe.handler", **variables) as running:
        nothing = set(running.invoke({})["loaded"])
        forged = running.invoke(post(b"{}", sign=False))
        good = running.invoke(post(body_of("signup", "one")))
    assert forged["answer"]["statusCode"] == 401
    assert good["answer"]["statusCode"] == 200
    assert nothing & (HEAVY | NEVER) == set()
    assert set(forged["loaded"]) & (HEAVY | NEVER | {"usher.functions.api"}) == set()
    assert (
        set(good["loaded"]) & (NEVER | {"usher.functions.api", "urllib3", "usher.server.site"})
        == set()
    )


def test_before_a_snapshot_everything_is_loaded(
    start: Start, postgresql_url: str, tmp_path: Path
) -> None:
    """SnapStart keeps what is in memory; then no request waits for an import."""
    (tmp_path / "probe.py").write_text(LOADED)
    with start(
        handler="probe.handler",
        USHER_DATABASE_URL=postgresql_url,
        PYTHONPATH=f"{ROOT}:{tmp_path}",
        AWS_LAMBDA_INITIALIZATION_TYPE="snap-start",
    ) as running:
        loaded = set(running.invoke({})["loaded"])
        assert running.invoke(get("/api/health"))["answer"]["statusCode"] == 200
    assert {"sqlalchemy", "psycopg", "usher.functions.api", "usher.functions.identity"} <= loaded
    assert loaded & NEVER == set()


def test_a_snapshot_is_not_made_with_settings_that_cannot_work(
    start: Start, sqlite_url: str
) -> None:
    """The deployment fails, instead of every request after it."""
    with (
        start(
            USHER_DATABASE_URL=sqlite_url, AWS_LAMBDA_INITIALIZATION_TYPE="snap-start"
        ) as running,
        pytest.raises(InvocationError, match="use postgresql"),
    ):
        running.invoke(get("/healthz"))
