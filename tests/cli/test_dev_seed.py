"""``usher dev --seed``: everybody comes once, whatever happens in between."""

from __future__ import annotations

import json
import signal
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Process
from tests.dev_process import GUIDED, WAIT_SECONDS, Dev, Site
from usher.cli.dev.folder import SEED_PASSWORD, make_state, seed_password
from usher.cli.environment import DEV_ENV, DEV_FOLDER
from usher.emulator.people import Way, people

COUNT = 45


def _mails(dev: Dev) -> list[Any]:
    found: list[Any] = json.loads(dev.get("/_dev/mail"))["mails"]
    return found


def _users(process: Process, folder: Path) -> dict[str, str]:
    env = {"USHER_DATABASE_URL": f"sqlite:///{folder}/.usher/usher.db"}
    done = process("users", "list", "--limit", "200", "--json", **env, **_secret(folder))
    return {user["email"]: user["status"] for user in json.loads(done.stdout)["users"]}


def _secret(folder: Path) -> dict[str, str]:
    lines = (folder / ".usher" / "dev.env").read_text().splitlines()
    [found] = [line for line in lines if line.startswith("USHER_WEBHOOK_SECRETS=")]
    name, _, value = found.partition("=")
    return {name: value}


def _expected() -> dict[str, str]:
    """What becomes of each, by the way that they come."""
    ends = {Way.NEVER_CONFIRMS: "pending", Way.INVITED: "pending"}
    return {
        who.email: ends.get(who.way, "active")
        for who in islice(people(), COUNT)
        if who.way is not Way.DENIED
    }


def test_the_seed_is_told_and_not_sown_twice(folder: Path) -> None:
    """Who became what; on a second start everybody is there already."""
    dev = Dev(folder, "--seed", "21")
    dev.says(GUIDED)
    told = "18 active, 1 not confirmed yet, 1 invited, 1 refused by the policy."
    assert told in dev.log.read_text()
    assert "Sign in as owner@example.com with that password." in dev.log.read_text()
    password = (folder / ".usher" / "seed-password").read_text().strip()
    assert dev.log.read_text().count(password) == 1
    assert dev.stop() == 0
    again = Dev(folder, "--seed", "21")
    try:
        again.says("All 21 people of the seed are already here")
        again.says("is in .usher/seed-password")
        assert password not in again.log.read_text()
        assert Site(again.url).log_in("owner@example.com", password)
    finally:
        again.stop()


def test_what_was_interrupted_is_finished_by_the_next(folder: Path, process: Process) -> None:
    """Ctrl-C in the middle leaves nobody half done for good, and ends as it always does."""
    dev = Dev(folder, "--seed", str(COUNT))
    dev.says("Usher listens at")
    deadline = time.monotonic() + WAIT_SECONDS
    while len(_mails(dev)) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert dev.stop(signal.SIGINT) == 0
    assert f"Not everybody is signed up yet; --seed {COUNT} goes on from here." in (
        dev.log.read_text()
    )
    assert "Traceback" not in dev.log.read_text()
    assert _users(process, folder) != _expected()
    again = Dev(folder, "--seed", str(COUNT))
    try:
        again.says(GUIDED)
        assert _users(process, folder) == _expected()
    finally:
        again.stop()


def test_f1_the_seeds_password_is_made_at_random_and_kept_to_oneself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another in each folder, in a file that nobody else may read and that git ignores."""
    made = []
    for name in ("one", "two"):
        (tmp_path / name / ".usher").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / name)
        make_state()
        made.append(seed_password())
        assert seed_password() == (made[-1][0], False)
        assert SEED_PASSWORD.stat().st_mode & 0o777 == 0o600
        assert DEV_ENV.stat().st_mode & 0o777 == 0o600
        assert (DEV_FOLDER / ".gitignore").read_text() == "*\n"
    (one, new), (two, _) = made
    assert new
    assert one != two
    assert len(one) == 20
