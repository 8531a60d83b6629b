"""``usher doctor --netlify``: a deployed site from outside; its findings are walked elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import structlog.testing
from msgspec import structs

from tests.cli.conftest import Program
from tests.deployed_site import HOOK, DeployedSite, deployed
from usher.cli.checks.deployed import asking, hook


@pytest.fixture
def site(program: Program, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeployedSite]:
    """A good one, not late however slow this machine is."""
    monkeypatch.setattr(hook, "COMFORT_SECONDS", 3600.0)
    monkeypatch.setattr(hook, "PATIENCE_SECONDS", 3600.0)
    site = DeployedSite()
    with program.app(), deployed(site):
        yield site


def test_a_good_site_has_a_line_for_each_check(program: Program, site: DeployedSite) -> None:
    """HTTPS apart, which nobody has on this machine."""
    found = program.json("doctor", "--netlify", site.url + "/")
    keys = ["hook.ok", "api.ok", "accounts.ok", "published.ok", "reserved.ok", "schedule.ok"]
    assert [each["key"] for each in found] == keys
    assert set(found[0]["facts"]) == {"first_seconds", "next_seconds"}
    assert found[2]["facts"] == {"ways": ["email", "google"], "signups_closed": False}


def test_it_needs_no_settings_here(
    program: Program, site: DeployedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked from anywhere, and looks at nothing here."""
    monkeypatch.setenv("USHER_WEBHOOK_SECRETS", "short")
    assert "hook" in program("doctor", "--netlify", site.url).stdout
    program("doctor", code=1)


def test_nothing_of_it_is_stored_or_counted(program: Program, site: DeployedSite) -> None:
    """No event is kept, and the forged one is not counted as one of Identity's."""
    with structlog.testing.capture_logs() as logs:
        program("doctor", "--netlify", site.url)
    refused = [each for each in logs if each["event"] == "signature.rejected"]
    assert [(each["reason"], each["mark"]) for each in refused] == [("signature_mismatch", "")] * 2
    assert program.json("events", "list")["events"] == []
    assert [path for method, path in site.requests if method not in ("GET", "HEAD")] == [HOOK] * 2


def test_an_answer_without_an_end_is_none(
    program: Program, site: DeployedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So no site can fill the memory of this machine."""
    monkeypatch.setattr(asking, "LIMITS", structs.replace(asking.LIMITS, body_bytes=1))
    (found,) = program.json("doctor", "--netlify", site.url, code=1)
    assert (found["key"], found["facts"]["error"]) == (
        "site.unreachable",
        "an answer is too large, or has no end",
    )


def test_a_note_alone_is_exit_code_0_and_an_error_1(program: Program, site: DeployedSite) -> None:
    """As without the option."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hook, "COMFORT_SECONDS", 0.0)
        (late,) = [
            each for each in program.json("doctor", "--netlify", site.url) if not each["well"]
        ]
    assert (late["key"], late["severity"]) == ("hook.late", "warning")
    site.chunked = True
    told = json.loads(program("doctor", "--netlify", site.url, "--json", code=1).stdout)
    assert [each["key"] for each in told if not each["well"]] == ["hook.length"]


@pytest.mark.parametrize(
    "url",
    ["site.example", "http://site.example", "https://site.example/x", "https://site.example:x"],
)
def test_an_address_that_is_no_sites_is_wrong_usage(program: Program, url: str) -> None:
    """By plain HTTP this machine alone is asked."""
    assert "without a path" in program("doctor", "--netlify", url, code=2).output


def test_a_site_without_a_page_for_everything_is_as_good(
    program: Program, site: DeployedSite
) -> None:
    """Then private files are 404."""
    site.page = False
    program("doctor", "--netlify", site.url)
