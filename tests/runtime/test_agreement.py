"""``/readyz``, ``usher doctor`` and the answer to an event agree in each state."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from core.spool import SET_ASIDE
from tests.core.outage_support import locked
from tests.runtime.outages import posted, ready, signup, wait_until
from tests.support import ROOT, SECRET, Server, clean_environment

StartServer = Callable[..., Server]


def bad(folder: Path, database_url: str, policy: Path, spool: Path) -> set[str]:
    """What the doctor finds to be wrong of what an event needs."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", "doctor", "--json"],
        cwd=folder,
        env=clean_environment(
            PYTHONPATH=str(ROOT),
            USHER_DATABASE_URL=database_url,
            USHER_WEBHOOK_SECRETS=SECRET.decode(),
            USHER_POLICY=str(policy),
            USHER_SPOOL=str(spool),
        ),
        capture_output=True,
        text=True,
        check=False,
    )
    found = json.loads(done.stdout)
    wrong = {one["name"] for one in found if not one["well"]}
    assert done.returncode == bool(wrong)
    return wrong & {"database", "spool", "policy"}


@pytest.mark.parametrize(
    ("away", "spoiled", "event", "readiness", "wrong"),
    [
        (True, "", 200, "degraded", {"database"}),
        (True, "unwritable", 503, "spool_unavailable", {"database", "spool"}),
        (False, "set aside", 200, "ok", {"spool"}),
    ],
    ids=["database locked", "and no spool", "something set aside"],
)
def test_all_three_say_the_same(
    start_server: StartServer,
    database_url: str,
    policy_file: Path,
    tmp_path: Path,
    away: bool,
    spoiled: str,
    event: int,
    readiness: str,
    wrong: set[str],
) -> None:
    """Before the event, and after it; and all are content once it is mended."""
    spool = tmp_path / "spool"
    server = start_server(database_url, USHER_SPOOL=str(spool))
    if spoiled == "unwritable":
        spool.write_text("a file where the folder should be")
    elif spoiled:
        spool.mkdir()
        (spool / SET_ASIDE).write_bytes(b"00000000 {}\n")
    with locked(database_url) if away else nullcontext():
        assert ready(server) == readiness
        assert posted(server, signup()) == event
        assert ready(server) == readiness
        assert bad(tmp_path, database_url, policy_file, spool) == wrong
    if spoiled == "unwritable":
        spool.unlink()
    wait_until(lambda: ready(server) == "ok")
    shutil.rmtree(spool, ignore_errors=True)
    assert bad(tmp_path, database_url, policy_file, spool) == set()
