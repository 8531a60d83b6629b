"""``/readyz``, ``usher doctor``, ``/metrics`` and the answer to an event agree in each state.

In one process, as a server's parts, so that each state is one from one moment to the next; that
``/readyz`` tells the truth of a real server whose database is broken is shown by test_outages.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from tests.pipeline.outage_support import impatient, locked
from tests.support import SECRET, Clock, account, call, free_port, signed
from usher.cli.checks.doctor import examine
from usher.core.app import App, use
from usher.core.domain import administration
from usher.core.domain.administration import Change
from usher.core.errors import DatabaseError
from usher.core.settings import Settings
from usher.core.spool.files import DEAD_LETTERS
from usher.functions._shared.failure import failure
from usher.functions._shared.http import Request
from usher.server import routes
from usher.server.backlogs import Backlogs
from usher.server.metrics import Metrics

TOKEN = "a-token-of-thirty-two-bytes-or-more"
OF_EVENTS = {"database", "policy", "spool", "pushes"}
"""What the doctor looks at that has to do with events; nobody is at Identity's address here."""


@dataclass(frozen=True)
class World:
    """One installation.

    Attributes:
        function: its App is that of a function without a server, which has no spool.
    """

    app: App
    policy: Path
    function: bool

    @property
    def spool(self) -> Path:
        """The spool's folder."""
        return self.app.settings.spool_folder

    def ready(self) -> str:
        """What ``/readyz`` says: a status or an error's code."""
        request = Request("GET", "/readyz", {}, b"")
        try:
            answer = routes.answer_rest(request)
        except Exception as error:  # noqa: BLE001 - as the server does
            answer = failure(error)
        found = json.loads(answer.body)
        assert (answer.status == 200) is ("status" in found and "code" not in found)
        return str(found.get("code", found.get("status")))

    def event(self) -> str:
        """What becomes of an event: ``stored``, ``kept``, or an error's code."""
        delivery = signed("signup", account())
        before = self.kept(), self.stored()
        answer = call(delivery)
        after = self.kept(), self.stored()
        if answer["statusCode"] == 200:
            assert sum(after) == sum(before) + 1
            return "stored" if after[1] > before[1] else "kept"
        assert after == before
        return str(json.loads(answer["body"])["code"])

    def stored(self) -> int:
        """How many are in the ledger; what cannot be asked has taken nothing."""
        try:
            with self.app.store.database.read() as transaction:
                return int(
                    transaction.sql.execute(text("SELECT count(*) FROM deliveries")).scalar_one()
                )
        except DatabaseError:
            return 0

    def kept(self) -> int:
        """How many are in the spool."""
        files = self.spool.glob("*.spool") if self.spool.is_dir() else ()
        return sum(path.read_bytes().count(b"\n") for path in files)

    def gauges(self) -> dict[str, float]:
        """What ``/metrics`` tells."""
        metrics = Metrics(TOKEN, {})
        Backlogs(self.app, metrics).step()
        request = Request("GET", "/metrics", {"authorization": (f"Bearer {TOKEN}",)}, b"")
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(metrics.answer(request).body)
            for sample in family.samples
        }


def wrong() -> set[str]:
    """What the doctor finds to be wrong."""
    return {one.name for one in examine() if not one.well} & OF_EVENTS


@contextmanager
def away(world: World) -> Iterator[None]:
    """Somebody else has the database locked."""
    with locked(world.app.settings.database_url):
        yield


@contextmanager
def no_spool(world: World) -> Iterator[None]:
    """The folder cannot be made."""
    world.spool.write_text("a file")
    yield
    world.spool.unlink()


@contextmanager
def dead_letters(world: World) -> Iterator[None]:
    """The database would not take something."""
    world.spool.mkdir()
    (world.spool / DEAD_LETTERS).write_bytes(b"00000000 {}\n")
    yield
    shutil.rmtree(world.spool)


@contextmanager
def not_migrated(world: World) -> Iterator[None]:
    """A table is not there."""
    with world.app.store.write() as transaction:
        transaction.sql.execute(text("ALTER TABLE deliveries RENAME TO deliveries_away"))
    try:
        yield
    finally:
        with world.app.store.write() as transaction:
            transaction.sql.execute(text("ALTER TABLE deliveries_away RENAME TO deliveries"))


@contextmanager
def unreadable_policy(world: World) -> Iterator[None]:
    """The file was edited, wrongly."""
    good = world.policy.read_text()
    world.policy.write_text("[admision]")
    yield
    world.policy.write_text(good)


@contextmanager
def untold(world: World) -> Iterator[None]:
    """Identity could not be told of a change."""
    users = world.app.store.users
    who = account()
    assert call(signed("signup", who))["statusCode"] == 200
    users.change(users.get(who.id), administration.grant("editor"), Change("admin:eve"))
    assert world.app.pushes.push_pending().left == 1
    yield
    with world.app.store.write() as transaction:
        transaction.sql.execute(text("DELETE FROM pushes"))


State = Callable[[World], AbstractContextManager[None]]


@pytest.mark.parametrize(
    ("states", "function", "ready", "event", "bad"),
    [
        ([], False, "ok", "stored", set()),
        ([], True, "ok", "stored", set()),
        ([away], False, "degraded", "kept", {"database"}),
        ([away], True, "database_unavailable", "database_unavailable", {"database"}),
        ([away, no_spool], False, "spool_unavailable", "spool_unavailable", {"database", "spool"}),
        ([no_spool], False, "ok", "stored", {"spool"}),
        ([dead_letters], False, "ok", "stored", {"spool"}),
        ([not_migrated], False, "degraded", "kept", {"database"}),
        ([not_migrated], True, "database_unavailable", "database_unavailable", {"database"}),
        ([untold], False, "ok", "stored", {"pushes"}),
        ([unreadable_policy], False, "ok", "stored", {"policy"}),  # a server has read it
        ([unreadable_policy], True, "policy_invalid", "policy_invalid", {"policy"}),
    ],
    ids=lambda value: "+".join(one.__name__ for one in value) if isinstance(value, list) else None,
)
def test_all_say_the_same(
    database_url: str,
    policy_file: Path,
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    states: list[State],
    function: bool,
    ready: str,
    event: str,
    bad: set[str],
) -> None:
    """Before an event, and after it; and all are content once it is mended."""
    monkeypatch.chdir(tmp_path)
    impatient(monkeypatch)
    for name, value in {
        "DATABASE_URL": database_url,
        "WEBHOOK_SECRETS": SECRET.decode(),
        "POLICY": str(policy_file),
        "SPOOL": str(tmp_path / "spool"),
        "IDENTITY_URL": f"http://127.0.0.1:{free_port()}",
        "IDENTITY_ADMIN_TOKEN": "t" * 40,
    }.items():
        monkeypatch.setenv(f"USHER_{name}", value)
    with use(App(Settings.from_env(os.environ), clock)) as app, ExitStack() as broken:
        world = World(app, policy_file, function)
        if not function:
            app.start_store_and_forward().adopt()
        for state in states:
            broken.enter_context(state(world))
        assert world.ready() == ready
        assert wrong() == bad
        assert world.event() == event
        assert world.ready() == ready
        assert wrong() == bad
        gauges = world.gauges()
        taken = event in ("stored", "kept")
        assert gauges["usher_ready"] == taken
        assert gauges["usher_degraded"] == (event == "kept") or not taken
        assert (gauges["usher_spool_dead_letters"] == 1) is (dead_letters in states)
        assert (gauges["usher_pushes_pending"] == 1) is (untold in states)

        broken.close()
        while not function and app.store_and_forward.step():
            pass
        assert (world.ready(), world.event(), wrong()) == ("ok", "stored", set())
        assert world.kept() == 0
        if not function:
            app.store_and_forward.close()
