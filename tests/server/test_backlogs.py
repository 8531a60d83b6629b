"""What waits outside any request, as ``/metrics`` tells it, on both databases."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert

from tests.refusing import refuse
from tests.support import NOON, Clock, account, call, signed
from usher.core.app import App, use
from usher.core.domain import administration, outbox_attempts
from usher.core.domain.administration import Change
from usher.core.settings import Settings
from usher.core.spool.files import Spool
from usher.core.store.database import Database
from usher.core.store.tables import SyncRow
from usher.functions._shared.http import Request
from usher.server.backlogs import Backlogs
from usher.server.metrics import Metrics

TOKEN = "a-token-of-thirty-two-bytes-or-more"


@pytest.fixture
def app(
    database_url: str, make_settings: Callable[..., Settings], clock: Clock, tmp_path: Path
) -> Iterator[App]:
    """An App that has somebody to tell, and a spool."""
    settings = make_settings(
        database_url=database_url,
        spool=str(tmp_path / "spool"),
        identity_url="http://127.0.0.1:9",
        identity_admin_token="t" * 40,
    )
    with use(App(settings, clock)) as found:
        yield found


def shown(metrics: Metrics) -> dict[str, str]:
    """Every gauge of the page, as text, for NaN is equal to nothing."""
    page = metrics.answer(
        Request("GET", "/metrics", {"authorization": (f"Bearer {TOKEN}",)}, b"")
    ).body
    return {
        sample.name.removeprefix("usher_"): f"{sample.value:.0f}"
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if family.type == "gauge" and family.name.startswith("usher_")
        if not family.name.endswith("_created")
    }


def test_each_backlog_is_told(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing; then one of each; then, with the database away, what the disk says."""
    metrics = Metrics(TOKEN, {})
    backlogs = Backlogs(app, metrics)
    ada = account()
    assert call(signed("signup", ada))["statusCode"] == 200
    assert backlogs.step() is False
    taken = {"ready": "1", "degraded": "0"}
    nothing = taken | {
        "spool_deliveries": "0",
        "spool_dead_letters": "0",
        "pushes_pending": "0",
        "pushes_oldest_timestamp_seconds": "nan",
        "outbox_waiting": "0",
        "outbox_oldest_timestamp_seconds": "nan",
        "outbox_dead": "0",
        "sync_completed_timestamp_seconds": "nan",
        "sync_differences": "nan",
        "sync_unreadable": "nan",
    }
    assert shown(metrics) == nothing

    refuse(app)
    app.store.users.change(
        app.store.users.get(ada.id), administration.grant("editor"), Change("admin:eve")
    )
    spool = Spool(app.settings.spool_folder)
    spool.append([b"one", b"two"])
    spool.keep_dead_letters([b"three"])
    completed = NOON - timedelta(hours=3)
    with app.store.write() as transaction:
        transaction.sql.execute(
            insert(SyncRow).values(
                instance_id=app.store.users.get(ada.id).instance_id,
                run_id=uuid4(),
                plan="look",
                started_at=completed,
                progress={},
                lease_until=completed,
                completed_at=completed,
                completed_plan="look",
                completed_left={"roles": 2, "unreadable": 3},
            )
        )
    with monkeypatch.context() as few:
        few.setattr(outbox_attempts, "MAX_TRIES", 1)
        refuse(app)
    app.store.users.change(
        app.store.users.get(ada.id), administration.grant("owner"), Change("admin:eve")
    )
    backlogs.step()
    on_disk = {"spool_deliveries": "2", "spool_dead_letters": "1"}
    assert shown(metrics) == taken | on_disk | {
        "pushes_pending": "1",
        "pushes_oldest_timestamp_seconds": f"{NOON.timestamp():.0f}",
        "outbox_waiting": "1",
        "outbox_oldest_timestamp_seconds": f"{NOON.timestamp():.0f}",
        "outbox_dead": "1",
        "sync_completed_timestamp_seconds": f"{completed.timestamp():.0f}",
        "sync_differences": "5",
        "sync_unreadable": "3",
    }
    spool.close()


def test_what_an_absent_database_would_say_is_not_known(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that fails leaves no stale number behind; what the disk says is told all the same."""
    metrics = Metrics(TOKEN, {})
    backlogs = Backlogs(app, metrics)
    call(signed("signup", account()))
    backlogs.step()
    assert shown(metrics)["pushes_pending"] == "0"
    app.store.database.dispose()
    nowhere = Database("sqlite:////nowhere/at/all.db")
    monkeypatch.setattr(app.store.database, "_pool", nowhere._pool)
    backlogs.step()
    found = shown(metrics)
    assert found.pop("ready") == "0"  # nobody keeps events: this is no server yet
    assert {found.pop("spool_deliveries"), found.pop("spool_dead_letters")} == {"0"}
    assert set(found.values()) == {"nan"}

    app.start_store_and_forward().check()
    backlogs.step()
    assert (shown(metrics)["ready"], shown(metrics)["degraded"]) == ("1", "1")
    assert call(signed("signup", account()))["statusCode"] == 200
    monkeypatch.setattr("usher.core.store.readiness.check", None)  # not asked any more
    backlogs.step()
    assert (shown(metrics)["degraded"], shown(metrics)["spool_deliveries"]) == ("1", "1")
    app.store_and_forward.close()

    shutil.rmtree(app.settings.spool_folder)
    app.settings.spool_folder.write_text("a file")
    backlogs.step()
    found = shown(metrics)
    assert (found.pop("ready"), found.pop("spool_deliveries")) == ("0", "0")
    assert set(found.values()) == {"nan"}
