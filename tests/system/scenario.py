"""A scenario whose every step is a process of its own, which may be killed at any moment."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import create_engine, text

from tests.api.api_support import JWT_SECRET, ask, bearer
from tests.conftest import POLICY
from tests.pipeline.outage_support import impatient, locked
from tests.store.store_support import deliver
from tests.support import NOON, SECRET, Clock, Signed, account, call, signed
from tests.system.kill import Moments, sigkill, watch
from usher.core import app as core_app
from usher.core import log, users  # noqa: F401 - loaded before the fork
from usher.core.app import App
from usher.core.domain.reply import Reply
from usher.core.settings import Settings
from usher.core.spool import forward as holding
from usher.core.store import ledger  # noqa: F401 - loaded before the fork
from usher.emulator.payload import ZERO_INSTANCE

BOSS, ADA, BEA, CY = (UUID(int=number) for number in range(1, 5))
EMAILS = {BOSS: "owner@example.com", ADA: "ada@example.com", BEA: "bea@b.example", CY: "c@c.org"}
_ORDER = {
    "users": "id",
    "grants": "user_id, role, source",
    "deliveries": "sequence",
    "audit": "sequence",
}
_NUMBERS = {"sequence", "ledger_position"}
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def dump(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that is there, in order, but for numbers that a rolled back transaction may use up."""
    engine = create_engine(url)
    found = {}
    with engine.connect() as connection:
        for table, order in _ORDER.items():
            rows = connection.execute(text(f"SELECT * FROM {table} ORDER BY {order}")).mappings()
            found[table] = [tuple(_value(k, v) for k, v in row.items() if k not in _NUMBERS)
                            for row in rows]  # fmt: skip
        counted = "SELECT name, sum(value) FROM counters GROUP BY name ORDER BY name"
        totals: Any = connection.execute(text(counted)).all()
        found["counters"] = [(name, int(total)) for name, total in totals if total]
    engine.dispose()
    return found


def _value(column: str, value: Any) -> Any:
    """A value; of answers in flight without whether they were given several times, as here."""
    if column != "identity_state":
        return value
    state = json.loads(value) if isinstance(value, str) else value
    notes = [each[:4] for each in state.get("in_flight", ())]
    return json.dumps(state | {"in_flight": notes})


@dataclass(frozen=True)
class Files:
    """Where a process finds what the one before has left."""

    url: str
    folder: Path

    @property
    def recovered(self) -> Path:
        """What a process finds is written here."""
        return self.folder / "recovered"

    def settings(self) -> Settings:
        """Those of the scenario."""
        policy = self.folder / "policy.toml"
        policy.write_text(POLICY)
        return Settings(
            database_url=self.url,
            webhook_secrets=(SECRET,),
            policy=str(policy),
            spool=str(self.folder / "spool"),
            instance_id=ZERO_INSTANCE,
            jwt_secret=JWT_SECRET,
        )


def event(name: str, who: UUID, second: int, **fields: Any) -> Signed:
    """The same bytes each time."""
    at = NOON + timedelta(seconds=second)
    return signed(name, account(user_id=who, email=EMAILS[who], at=NOON, **fields), at=at)


def _deliver(delivery: Signed, app: App) -> None:
    assert call(delivery)["statusCode"] in (200, 202, 204)


def _deliver_while_away(deliveries: Sequence[Signed], app: App) -> None:
    with locked(app.settings.database_url):
        answers = deliver(app, deliveries)
    assert all(isinstance(one, Reply) and one.status in (200, 202) for one in answers)


def _administer(method: str, path: str, body: Any, app: App) -> None:
    token = "Bearer " + bearer(BOSS, app.clock())
    assert ask(method, path, token, body).status in (200, 204)


def _drain(app: App) -> None:
    while app.store_and_forward.step():
        pass


def _maintenance(app: App) -> None:
    app.maintenance.step()


_UNTIL = {"expires_at": "2026-11-23T12:02:00Z"}
STEPS: tuple[Callable[[App], None], ...] = (
    partial(_deliver, event("signup", BOSS, 0)),
    partial(_deliver, event("validate", ADA, 1)),
    partial(_deliver, event("signup", ADA, 2)),
    partial(_administer, "PUT", f"/users/{ADA}/roles/editor", _UNTIL),
    partial(_administer, "DELETE", f"/users/{ADA}/roles/member", None),
    partial(_deliver, event("login", ADA, 5, roles=["author"])),
    partial(
        _deliver_while_away,
        (event("signup", BEA, 6), event("usermodified", ADA, 7, roles=["author", "vip"])),
    ),
    partial(_administer, "PATCH", f"/users/{BEA}", {"status": "suspended"}),
    _maintenance,
    partial(_deliver, event("signup", CY, 9)),
    partial(_deliver, event("userdeleted", CY, 10)),
    partial(_administer, "DELETE", f"/users/{BEA}", None),
)
"""What happens, in order; each may be done again, as Identity and people do who got no answer."""


def _run(files: Files, step: int | None, dies: int) -> None:
    """A life: what the one before has kept is applied, then one step is done."""
    patch = pytest.MonkeyPatch()
    impatient(patch)
    patch.setattr(holding, "STEP", 1)
    log.configure((files.folder / "log").open("a"))
    moments = Moments(sigkill)
    watch(patch, moments)
    moments.arm(dies)
    clock = Clock()
    app = App(files.settings(), clock)
    patch.setattr(core_app, "_current", app)
    app.start_store_and_forward().adopt()
    _drain(app)
    files.recovered.write_text(repr(dump(files.url)))
    if step is not None:
        clock.advance(seconds=20 * step)
        STEPS[step](app)
    app.close()


def live(files: Files, step: int | None, dies: int = 0) -> tuple[bool, str | None]:
    """A process of its own.

    Args:
        step: which; None: nothing but what was kept is applied.
        dies: at the so-many-th moment; 0: not.

    Returns:
        Whether it lived to its end, so that its step was acknowledged; and all that was there
        before the step, unless it died earlier.
    """
    files.recovered.unlink(missing_ok=True)
    process = PROCESSES.Process(target=_run, args=(files, step, dies))
    process.start()
    process.join(60)
    assert process.exitcode in (0, -9), (files.folder / "log").read_text()
    found = files.recovered.read_text() if files.recovered.exists() else None
    return process.exitcode == 0, found
