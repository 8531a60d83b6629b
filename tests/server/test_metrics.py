"""/metrics: who may read it, what it counts, and that no stranger can make it grow."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.api.api_support import JWT_SECRET, bearer
from tests.server.outages import wait_until
from tests.server.test_server import now, signup
from tests.support import ROOT, Server, account
from usher.core.app import App
from usher.core.errors import NotFoundError, UnauthenticatedError
from usher.core.settings import Settings
from usher.functions._shared.http import Request
from usher.server.backlogs import Backlogs
from usher.server.group_commit import GroupCommit
from usher.server.metrics import Metrics

StartServer = Callable[..., Server]
TOKEN = "a-token-of-thirty-two-bytes-or-more"
DEPLOY = ROOT / "deploy"
NAME = re.compile(r"\b(?:usher|process)_[a-z_]+")
SUFFIX = re.compile(r"_(?:bucket|count|sum|total|created)$")


def read(server: Server, authorization: str = f"Bearer {TOKEN}") -> str:
    """The page."""
    headers = {"Authorization": authorization}
    answer = server.pool.request("GET", f"{server.url}/metrics", headers=headers)
    assert answer.status == 200
    return answer.data.decode()


def value(page: str, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def request(*authorization: str, method: str = "GET") -> Request:
    """A request for the page."""
    return Request(method, "/metrics", {"authorization": authorization}, b"")


def test_without_a_token_in_the_settings_there_is_no_such_address() -> None:
    """The safe default: nothing is told to anybody, and no client's address is trusted."""
    with pytest.raises(NotFoundError):
        Metrics(None, {}).answer(request(f"Bearer {TOKEN}"))


@pytest.mark.parametrize(
    "shown",
    [(), ("",), (TOKEN,), ("Bearer ",), (f"Bearer {TOKEN}x",), (f"Bearer {TOKEN[:-1]}",),
     (f"Basic {TOKEN}",), (f"Bearer {TOKEN}", f"Bearer {TOKEN}"), ("Bearer \u00e9",)],
    ids=repr,
)  # fmt: skip
def test_another_token_or_none_is_401(shown: Sequence[str]) -> None:
    """Exactly one, exactly equal."""
    with pytest.raises(UnauthenticatedError):
        Metrics(TOKEN, {}).answer(request(*shown))


def test_the_page_over_http(start_server: StartServer, sqlite_url: str) -> None:
    """401, 405 and 200; deliveries, refusals and answers of the API are each counted once."""
    server = start_server(
        sqlite_url, USHER_METRICS_TOKEN=TOKEN, USHER_JWT_SECRET=JWT_SECRET.decode()
    )
    url = f"{server.url}/metrics"
    refused = server.pool.request("GET", url)
    assert (refused.status, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
    bearer_line = {"Authorization": f"Bearer {TOKEN}"}
    assert server.pool.request("POST", url, headers=bearer_line).status == 405
    head = server.pool.request("HEAD", url, headers=bearer_line)
    assert (head.status, head.data) == (200, b"")

    delivery = signup()
    assert [server.post(delivery).status for _ in range(3)] == [200] * 3
    assert server.post(signup("x@mailinator.com")).status == 403
    assert server.post(signup(secret=b"f" * 32)).status == 401
    person = account(email="eve@example.com").id
    me = {"Authorization": f"Bearer {bearer(person, now())}"}
    assert server.pool.request("GET", f"{server.url}/api/me", headers=me).status == 200
    assert server.pool.request("GET", f"{server.url}/api/users/{person}").status == 401

    answer = server.pool.request("GET", url, headers=bearer_line)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    page = answer.data.decode()
    deliveries = "usher_deliveries_total"
    assert value(page, deliveries, event="signup", outcome="applied") == 1
    assert value(page, deliveries, event="signup", outcome="repeated") == 2
    assert value(page, deliveries, event="signup", outcome="denied") == 1
    assert value(page, deliveries) == 4
    assert value(page, "usher_signatures_rejected_total", reason="signature_mismatch") == 1
    assert value(page, "usher_event_seconds_count") == 5
    assert value(page, "usher_event_seconds_count", status="2xx") == 3
    assert value(page, "usher_batch_deliveries_sum") == 4
    assert value(page, "usher_queue_deliveries") == 0
    assert value(page, "usher_api_requests_total", method="GET", route="/me", status="2xx") == 1
    assert value(page, "usher_api_requests_total", route="/users/{id}", status="4xx") == 1
    assert value(page, "process_resident_memory_bytes") > 10_000_000
    assert value(page, "process_start_time_seconds") > 1_700_000_000
    assert str(person) not in page
    assert "example.com" not in page


def test_several_workers_tell_one_sum(start_server: StartServer, postgresql_url: str) -> None:
    """Whichever of them is asked."""
    server = start_server(postgresql_url, "--workers", "2", USHER_METRICS_TOKEN=TOKEN)
    with ThreadPoolExecutor(16) as crowd:
        deliveries = [signup(f"m{number}@example.com") for number in range(40)]
        assert {answer.status for answer in crowd.map(server.post, deliveries)} == {200}
    for _ in range(6):
        server.pool.clear()
        page = read(server, f"Bearer {TOKEN}")
        assert value(page, "usher_deliveries_total", outcome="applied") == 40
        assert value(page, "usher_batch_deliveries_sum") == 40


def test_the_backlogs_of_the_site_are_told_whichever_worker_is_asked(
    start_server: StartServer, postgresql_url: str
) -> None:
    """They are looked at when a worker begins."""
    server = start_server(postgresql_url, "--workers", "2", USHER_METRICS_TOKEN=TOKEN)
    wait_until(lambda: "usher_pushes_pending 0.0" in read(server))
    assert "usher_spool_deliveries 0.0" in read(server)


def test_strangers_cannot_make_the_page_grow() -> None:
    """Methods, paths and ids that somebody makes up share one label value."""
    metrics = Metrics(TOKEN, {})
    for number in range(1000):
        fields = {"method": f"M{number}", "status": 404, "duration_ms": 0.1, "caller": str(number)}
        metrics.observe("api.answered", fields)
        metrics.observe("event.ignored", {"delivery_id": str(number)})
    page = metrics.answer(request(f"Bearer {TOKEN}")).body
    assert value(page, "usher_api_requests_total", method="other", route="none") == 1000
    assert value(page, "usher_deliveries_total", event="none", outcome="ignored") == 1000
    assert len(page.splitlines()) < 150


def test_how_many_wait_is_read_when_asked() -> None:
    """The gauge of the queue is the group_commit's own number."""

    async def scene() -> list[int]:
        group_commit: GroupCommit[int, int] = GroupCommit(list)
        tasks = [asyncio.create_task(group_commit.submit(number)) for number in range(3)]
        await asyncio.sleep(0)
        seen = [group_commit.waiting]
        await asyncio.gather(*tasks)
        group_commit.close()
        return [*seen, group_commit.waiting]

    assert asyncio.run(scene()) == [3, 0]


def test_a_gauge_is_offered_by_one_worker_and_not_by_several(tmp_path: Path) -> None:
    """A sum of what each reads for itself would count the same thing twice."""
    for environ, offered in (({}, True), ({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}, False)):
        metrics = Metrics(TOKEN, environ)
        metrics.gauge("usher_test_depth", "A test's.", lambda: 7)
        page = metrics.answer(request(f"Bearer {TOKEN}")).body
        assert ("usher_test_depth 7.0" in page) is offered


# --- dashboard, alerts and documentation ---------------------------------------------------------


def offered() -> set[str]:
    """The names of all metrics, gauges of the server included, without the suffix of a sample."""
    metrics = Metrics(TOKEN, {})
    Backlogs(App(Settings(webhook_secrets=(b"x" * 32,))), metrics)
    names = {family.name for family in metrics._registry.collect()}
    source = (ROOT / "server" / "app.py").read_text()
    return names | set(re.findall(r'"(usher_[a-z_]+)",\n', source))


def test_dashboard_and_alerts_name_metrics_that_there_are() -> None:
    """A panel without data, or an alert that can never fire, is noticed here."""
    for path in (DEPLOY / "grafana-dashboard.json", DEPLOY / "alerts.yml"):
        named = {SUFFIX.sub("", name) for name in NAME.findall(path.read_text())}
        assert named, path
        assert named <= offered(), path


def test_dashboard_and_alerts_are_well_formed() -> None:
    """Every panel has a question; every alert an expression, a time, and a sentence."""
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    (group,) = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]:
        assert rule["alert"]
        assert rule["expr"]
        assert rule["for"]
        assert rule["annotations"]["summary"]


def test_every_metric_of_ours_is_described() -> None:
    """docs/metrics.md has each name."""
    text = (ROOT / "docs" / "metrics.md").read_text()
    ours = {name for name in offered() if name.startswith("usher_")}
    assert len(ours) >= 9
    assert {name for name in ours if f"`{name}" not in text} == set()
