"""The built functions are what ``usher doctor --netlify`` wants of a deployed site."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

import pytest

from tests.deployed_site import Answer, DeployedSite, deployed
from tests.netlify.functions import Functions
from usher.cli.checks.deployed import deployed_findings, hook


def test_the_doctor_finds_nothing_at_the_built_functions(
    running: Functions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Length, no-transform, headers, version, refusals: all as deployed, but for Netlify's edge."""
    monkeypatch.setattr(hook, "COMFORT_SECONDS", 3600.0)
    monkeypatch.setattr(hook, "PATIENCE_SECONDS", 3600.0)
    turn = Lock()

    def functions(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        with turn:
            told = running.ask(path, method, headers=headers, body=body or None)
        return Answer(told.status, told.body, dict(told.headers))

    site = DeployedSite(functions)
    with deployed(site):
        found = deployed_findings(site.url)
    assert [each for each in found if not each.well] == []
