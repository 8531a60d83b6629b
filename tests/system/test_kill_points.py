"""A real process is killed at each of its moments: before and after every commit and every sync."""

from __future__ import annotations

import shutil
from pathlib import Path

from sqlalchemy import create_engine, text

from tests.system.scenario import STEPS, Files, live
from tests.system.system import TABLES


def test_killed_at_each_moment_nothing_is_lost_half_done_or_done_twice(
    database_url: str, tmp_path: Path
) -> None:
    """Each step is begun by processes that die at their first, second … moment, until one lives."""
    files = _empty(database_url, tmp_path / "whole")
    whole = [live(files, step)[1] for step in range(len(STEPS))]
    whole.append(live(files, None)[1])
    assert len(set(whole)) == len(whole), "each step leaves a trace"

    files = _empty(database_url, tmp_path / "killed")
    for step in range(len(STEPS)):
        dies, acknowledged = 0, False
        while not acknowledged:
            dies += 1
            acknowledged, found = live(files, step, dies)
            # What was acknowledged is there; the step that was not is there whole, or not at all.
            assert found is None or found in whole[step : step + 2], (step, dies)
        assert dies > 2, "nobody died before and after the commit"
    assert live(files, None) == (True, whole[-1])


def _empty(url: str, folder: Path) -> Files:
    folder.mkdir()
    if url.startswith("sqlite"):
        shutil.copy(folder.parent / "usher.db", folder)
        return Files(f"sqlite:///{folder / 'usher.db'}", folder)
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in TABLES.split(", "):
            connection.execute(text(f"DELETE FROM {table}"))
    engine.dispose()
    return Files(url, folder)
