"""A database with the people of the contract, and what the handlers answer in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.contract.cases import Answer, cases
from tests.contract.runtimes import direct
from tests.contract.world import seed, settings
from usher.core.app import App, use


@pytest.fixture
def seeded(policy_file: Path) -> Callable[[str], str]:
    """Fill a database with the people of the contract; its URL."""

    def fill(database_url: str) -> str:
        seed(database_url, str(policy_file))
        return database_url

    return fill


@pytest.fixture
def reference(
    sqlite_url: str, seeded: Callable[[str], str], policy_file: Path
) -> Mapping[str, Answer]:
    """What the handlers themselves answer to each case."""
    with use(App(settings(seeded(sqlite_url), str(policy_file)))):
        return {case.id: direct(case) for case in cases(int(time.time()))}
