"""The process of the shadow policy: beside a real server, and where it raises, sleeps or grows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.server.waiting import until
from tests.store.store_support import LogLines
from tests.support import (
    ROOT,
    SECRET,
    Server,
    account,
    clean_environment,
    signed,
    verified,
)
from usher.core.app import App, use, utc_now
from usher.core.domain.reply import Reply
from usher.core.domain.shadow import Run
from usher.core.settings import Settings
from usher.server.beside import NICE
from usher.server.shadow import HANG_SECONDS, ShadowKeeper

RULES = """
import time
from usher.core.domain.policy import Applicant, Reason, Verdict

HELD = []

def decide(applicant: Applicant) -> Verdict:
    if applicant.address.startswith("sleeps"):
        time.sleep(3600)
    if applicant.address.startswith("grows"):
        while True:
            HELD.append(bytearray(1 << 29))
    if applicant.address.startswith("raises"):
        raise KeyError(applicant.address)
    return Verdict(admitted=False, reasons=(Reason("rules.nobody", "nobody"),))
"""
POLICY = """
[[role]]
grant = "member"
"""
DENY = """
[admission]
deny_email_domains = ["example.net"]
"""


@pytest.fixture
def site(
    tmp_path: Path, sqlite_url: str, policy_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[App]:
    """The App of an installation in ``tmp_path`` with a callable shadow policy."""
    (tmp_path / "rules_of_tomorrow.py").write_text(RULES)
    monkeypatch.chdir(tmp_path)
    settings = {
        "USHER_DATABASE_URL": sqlite_url,
        "USHER_WEBHOOK_SECRETS": SECRET.decode(),
        "USHER_POLICY": str(policy_file),
        "USHER_POLICY_SHADOW": "rules_of_tomorrow:decide",
    }
    for name, value in (settings | {"PYTHONPATH": str(ROOT)}).items():
        monkeypatch.setenv(name, value)
    with use(App(Settings.from_env(settings), utc_now)) as app:
        yield app


def run_of(app: App) -> Run | None:
    """How far it has followed."""
    return app.shadows.run(app.settings.policy_shadow)


HUNG = "it hung"
OUTGREW = "it needed more memory than it may have"


@pytest.mark.parametrize(
    ("names", "hang_seconds", "rules", "detail"),
    [
        (
            ("ada", "raises", "grows", "eve"),
            HANG_SECONDS,
            ["rules.nobody", "shadow.failed", "shadow.no_answer", "rules.nobody"],
            OUTGREW,
        ),
        (("sleeps", "eve"), 5, ["shadow.no_answer", "rules.nobody"], HUNG),
    ],
    ids=["raises or grows", "sleeps"],
)
def test_a_shadow_that_raises_sleeps_or_grows_changes_no_answer_and_is_told(
    site: App, names: tuple[str, ...], hang_seconds: int, rules: list[str], detail: str
) -> None:
    """Each event at which its process ended is passed in the end, and the others are compared."""
    lines = LogLines()
    keeper = ShadowKeeper(hang_seconds=hang_seconds, longest_wait_seconds=0.5)
    keeper.start()
    try:
        until(lambda: run_of(site))
        now = datetime.now(UTC)
        people = [account(email=f"{name}@example.org", at=now) for name in names]
        events = [signed("signup", each, at=now) for each in people]
        answers = site.webhooks.process([verified(site.webhooks, each, now) for each in events])
        assert [isinstance(each, Reply) and each.status for each in answers] == [200] * len(names)
        until(lambda: (run := run_of(site)) and run.events == len(events))
        run = run_of(site)
        assert run is not None
        found = [each.difference for each in reversed(site.shadows.page(run).items)]
        assert [each.rule for each in found] == rules
        assert [each.text for each in found if each.rule == "shadow.no_answer"] == [detail]
        assert run.error == detail
    finally:
        keeper.close()
    assert {line["detail"] for line in lines("shadow.ended")} == {detail}


def test_a_process_that_is_killed_is_started_again(site: App) -> None:
    """With the same lease, so that it goes on at once."""
    keeper = ShadowKeeper()
    keeper.start()
    try:
        until(lambda: run_of(site))
        before = run_of(site)
        assert keeper._process is not None
        assert before is not None
        lower = min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
        assert os.getpriority(os.PRIO_PROCESS, keeper._process.pid) == lower
        os.kill(keeper._process.pid, signal.SIGKILL)
        until(lambda: (run := run_of(site)) and run.error)
        after = run_of(site)
        assert after is not None
        assert (after.error, after.lease, after.run_id) == (
            "it was ended by signal 9",
            before.lease,
            before.run_id,
        )
    finally:
        keeper.close()
    closed = run_of(site)
    assert closed is not None
    assert closed.lease is None


def test_people_come_and_the_command_says_what_next_toml_would_have_done(
    start_server: Callable[..., Server], tmp_path: Path, database_url: str
) -> None:
    """As an administrator would watch it: the setting, a server, the command, the answers alike."""
    (tmp_path / "next.toml").write_text(POLICY + DENY)
    server = start_server(database_url, USHER_POLICY_SHADOW="next.toml")
    with use(App(Settings(database_url=database_url, webhook_secrets=(SECRET,)))) as app:
        until(lambda: app.shadows.run("next.toml"))
        people = ["ada@example.com", "bob@example.org", "x@example.net", "y@example.net"]
        for email in people:
            now = datetime.now(UTC)
            answer = server.post(signed("signup", account(email=email, at=now), at=now))
            assert (answer.status, b"member" in answer.data) == (200, True)
        until(lambda: (run := app.shadows.run("next.toml")) and run.events == len(people))
        told = subprocess.run(
            [sys.executable, "-m", "usher.cli", "policy", "shadow"],
            cwd=tmp_path,
            env=clean_environment(
                PYTHONPATH=str(ROOT),
                USHER_DATABASE_URL=database_url,
                USHER_WEBHOOK_SECRETS=SECRET.decode(),
                USHER_POLICY_SHADOW="next.toml",
            ),
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        run = app.shadows.run("next.toml")
        assert run is not None
        since = f"{run.begun_at:%A, %Y-%m-%d %H:%M:%S} UTC"
        refused, staff, *rest = told.splitlines()
        assert refused == (
            f"next.toml would have refused 2 of 4 events since {since}, by admission."
            "deny_email_domains: the domain example.net is on the deny list"
        )
        assert staff == (
            f"next.toml would not have given 'staff' at 1 of 4 events since {since}, where today's "
            "policy has role.2: grants 'staff' to everybody whose proven address is at example.com"
        )
        for each in app.shadows.page(run).items:
            (line,) = [line for line in rest if each.delivery_id[:20] in line]
            assert str(each.user_id) in line
            assert each.difference.text in line
        assert "@" not in told
        server.stop()
        run = app.shadows.run("next.toml")
        assert run is not None
        assert run.lease is None  # its process ended with it, and another server goes on at once
