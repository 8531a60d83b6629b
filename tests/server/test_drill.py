"""A PostgreSQL as people have it, and what befalls it; ``bench.drill`` does it in full."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import template
from tests.pgbouncer import PROGRAM
from tests.server import drill
from tests.server.outages import StartServer

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="NOT RUN: this needs pgbouncer")


@pytest.mark.parametrize(
    ("stage", "count"),
    [(drill.behind_a_pooler, 48), (drill.a_grant_revoked, 40), (drill.a_replica_promoted, 40)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_nothing_answered_is_missing(
    stage: Callable[..., None],
    count: int,
    start_server: StartServer,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """And ``/readyz`` and the doctor say the truth at each moment."""
    said: list[str] = []
    stage(start_server, tmp_path, template(tmp_path_factory), count, said.append)
    assert len(said) == 1
