"""``usher sync`` with the emulator over HTTP: imported, drifted on purpose, mended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from tests.cli.conftest import Program
from tests.cli.sync_support import START, Site
from tests.support import ROOT, WAIT_SECONDS, clean_environment
from usher.core.domain import sync_place
from usher.core.domain.sync_plan import Plan
from usher.core.errors import SyncRunningError
from usher.core.identity import sync_accounts
from usher.functions._shared.http import Response


def test_an_existing_site_is_imported_drifts_in_many_ways_and_is_mended(site: Site) -> None:
    """500 users: a report tells each kind, both sides are mended, and then nothing differs."""
    ids = site.fill(500)
    report = site.sync(code=3)
    assert report["left"] == {"missing_here": 500}
    assert site.program.json("users", "list")["users"] == []
    done = site.sync("--both")
    assert done["mended"] == {"missing_here": 500, "roles_here": 50}
    assert done["left"] == {}
    assert site.program.roles(ids[1]) == ["member", "staff", "vip"]
    assert site.held(ids[10]) == {"provider": "email", "roles": ["member", "staff"]}
    assert site.sync(code=0)["found"] == {}

    program = site.program
    new = site.fill(1, email="new@example.com")
    site.identity.admin("DELETE", f"/admin/users/{ids[0]}")
    site.put(ids[1], email="changed@example.com")
    site.put(ids[2], user_metadata={"full_name": "Changed"})
    site.put(ids[3], app_metadata={"roles": ["member", "staff"]})
    _away(site, lambda: program("users", "grant", str(ids[4]), "editor"))
    _away(site, lambda: program("users", "suspend", str(ids[5])))
    _away(site, lambda: program("users", "delete", str(ids[6]), "--yes"))

    expected = {
        "missing_here": 1, "missing_there": 1, "email": 1, "metadata": 1, "roles_there": 1,
        "roles_here": 1, "suspended": 1, "deleted_here": 1,
    }  # fmt: skip
    assert site.sync(code=3)["left"] == expected
    done = site.sync("--both", "--prune")
    assert done["left"] == {}
    assert program.json("users", "show", str(ids[0]))["status"] == "deleted"
    assert program.json("users", "show", str(ids[1]))["email"] == "changed@example.com"
    assert program.json("users", "show", str(ids[2]))["user_metadata"] == {"full_name": "Changed"}
    assert program.roles(ids[3]) == ["member", "staff"]
    assert site.held(ids[4])["roles"] == ["editor", "member", "staff", "vip"]
    assert site.held(ids[5])["roles"] == []
    assert site.held(ids[6]) is None
    assert program.roles(new[0]) == ["member", "staff"]
    before = len(program.json("audit", "--limit", "200")["audit"])
    again = site.sync("--both", "--prune")
    assert (again["found"], again["mended"]) == ({}, {})
    assert len(program.json("audit", "--limit", "200")["audit"]) == before
    assert not any(call.startswith("PUT") for call in site.calls)


def _away(site: Site, act: Callable[[], Any]) -> None:
    """Do something here of which Identity does not hear."""
    url = os.environ.pop("USHER_IDENTITY_URL")
    act()
    os.environ["USHER_IDENTITY_URL"] = url


def test_an_import_is_in_the_audit_with_its_actor(site: Site) -> None:
    """Who asks later where a record came from finds it."""
    (user_id,) = site.fill(1)
    site.sync("--pull", code=3)
    (entry,) = site.program.json("audit", "--user", str(user_id))["audit"]
    assert (entry["action"], entry["actor"]) == ("user.created", "sync")


def test_a_pull_writes_nothing_at_identity(site: Site) -> None:
    """What Identity lacks is told, and left."""
    (user_id,) = site.fill(1)
    done = site.sync("--pull", code=3)
    assert done["left"] == {"roles_here": 1}
    assert not any(call.startswith("PUT") for call in site.calls)
    assert site.held(user_id)["roles"] == []


def test_a_push_makes_no_record(site: Site) -> None:
    """Whoever is missing here stays so."""
    site.fill(2)
    assert site.sync("--push", code=3)["left"] == {"missing_here": 2}
    assert site.program.json("users", "list")["users"] == []


@pytest.mark.usefixtures("small_pages")
def test_too_many_removals_are_refused_with_the_numbers(site: Site) -> None:
    """More than 5 % need --force; the rest is mended all the same."""
    ids = site.fill(20)
    site.sync("--both")
    for user_id in ids[:2]:
        site.identity.admin("DELETE", f"/admin/users/{user_id}")
    refused = site.program("sync", "--pull", "--prune", code=1)
    assert "2 of 20 users here, more than 5 %" in refused.stderr
    assert site.program.json("users", "show", str(ids[0]))["status"] == "active"
    assert site.sync("--pull", "--prune", "--force")["mended"] == {"missing_there": 2}
    assert site.program.json("users", "show", str(ids[0]))["status"] == "deleted"


@pytest.mark.usefixtures("small_pages")
def test_deleted_here_is_deleted_there_only_with_prune(site: Site) -> None:
    """And too many are refused there as well."""
    ids = site.fill(20)
    site.sync("--both")
    _away(site, lambda: [site.program("users", "delete", str(i), "--yes") for i in ids[:2]])
    assert site.sync("--push", code=3)["left"] == {"deleted_here": 2}
    refused = site.program("sync", "--push", "--prune", code=1)
    assert "2 of 20 accounts at Identity" in refused.stderr
    assert site.held(ids[0]) is not None
    assert site.sync("--push", "--prune", "--force")["left"] == {}
    assert site.held(ids[0]) is None


@pytest.mark.usefixtures("small_pages")
def test_accounts_deleted_meanwhile_hide_nobody(site: Site) -> None:
    """The pages move: a run that sees it goes back, so that nobody slips through."""
    ids = site.fill(40)
    gone = iter(ids[:3])

    def delete_one(what: str) -> None:
        if "page=3&per_page=10" in what and (user_id := next(gone, None)):
            site.identity.admin("DELETE", f"/admin/users/{user_id}")

    site.before = delete_one
    site.sync("--pull", code=3)
    site.before = None
    assert "missing_here" not in site.sync(code=3)["found"]


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(
    "spoil",
    [
        lambda answer: replace(answer, status=500),
        lambda answer: replace(answer, body=answer.body[: len(answer.body) // 2]),
        lambda answer: replace(answer, body='{"users": [{"id": 7}]}'),
        lambda answer: replace(answer, body="<html>"),
    ],
    ids=["500", "torn", "odd", "html"],
)
def test_an_identity_that_fails_changes_nothing_and_the_run_goes_on_from_there(
    site: Site, spoil: Callable[[Response], Response]
) -> None:
    """It is asked for a few times; then the run stops, and the next begins at that page."""
    site.fill(30)
    site.answer = lambda what, answer: answer if "page=1&" in what else spoil(answer)
    failed = site.program("sync", "--pull", code=1)
    assert failed.stderr.startswith("Identity ")
    assert len(site.program.json("users", "list")["users"]) == 10
    assert site.pages().count(2) >= sync_accounts.ATTEMPTS
    site.answer = lambda _, answer: answer
    done = site.sync("--pull", code=3)
    assert (done["resumed"], done["accounts"]) == (True, 30)
    assert site.pages() == [2, 3]


@pytest.mark.usefixtures("small_pages")
def test_a_page_that_fails_once_is_asked_for_again(site: Site) -> None:
    """Nobody notices."""
    site.fill(30)
    answers = iter([500, 500, 500])

    def once(what: str, answer: Response) -> Response:
        if "page=2&per_page=10" in what:
            return replace(answer, status=next(answers, answer.status))
        return answer

    site.answer = once
    assert site.sync("--pull", code=3)["accounts"] == 30


def test_another_identity_is_refused(site: Site) -> None:
    """Where nobody is in common, nothing is mended, unless somebody insists."""
    site.program.deliver("signup", "bob@example.com")
    site.fill(3)
    refused = site.program("sync", "--both", "--prune", code=1)
    assert "Is USHER_IDENTITY_URL the right one?" in refused.stderr
    assert len(site.program.json("users", "list")["users"]) == 1
    assert site.sync("--pull", "--force", code=3)["mended"] == {"missing_here": 3}


def test_an_import_needs_to_know_the_instance(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events would make a second record of everybody."""
    monkeypatch.delenv("USHER_INSTANCE_ID")
    site.fill(1)
    assert "USHER_INSTANCE_ID" in site.program("sync", "--pull", code=1).stderr
    assert site.sync(code=3)["left"] == {"missing_here": 1}


def test_without_credentials_it_says_which_are_needed(program: Program) -> None:
    """No traceback, no guess."""
    assert "USHER_IDENTITY_URL" in program("sync", code=1).stderr


def test_prune_needs_a_side_to_mend(program: Program) -> None:
    """A report removes nothing."""
    assert "--prune needs" in program("sync", "--prune", code=2).stderr


@pytest.mark.usefixtures("small_pages")
def test_a_record_that_changes_meanwhile_is_looked_at_again(site: Site) -> None:
    """An event that comes between Identity's answer and our commit is not overwritten."""
    ids = site.fill(5)
    site.sync("--both")
    site.put(ids[0], user_metadata={"full_name": "First"})
    events: list[str] = []

    def change(what: str, answer: Response) -> Response:
        if "page=1&per_page=10" in what and not events:
            events.append(what)
            site.put(ids[0], user_metadata={"full_name": "Second"})
            site.program.deliver(
                "usermodified", "user0@example.com", user_id=ids[0], roles=["member", "staff"],
                user_metadata={"full_name": "Second"}, confirmed_at=START,
            )  # fmt: skip
        return answer

    site.answer = change
    site.sync("--both")
    shown = site.program.json("users", "show", str(ids[0]))
    assert shown["user_metadata"] == {"full_name": "Second"}
    assert f"GET /admin/users/{ids[0]}" in site.calls


@pytest.mark.usefixtures("small_pages")
def test_two_at_once_are_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second says that there is a first one."""
    site.fill(30)
    said: list[str] = []

    def another(what: str) -> None:
        if "page=2&per_page=10" in what and not said:
            said.append("")
            with site.program.app() as app:
                app.sync._sleep = lambda _: None
                with pytest.raises(SyncRunningError) as refused:
                    list(app.sync.run(Plan(), wait=False))
                said[0] = refused.value.detail

    site.before = another
    site.sync("--pull", code=3)
    assert "Another sync is under way" in said[0]


LISTENING = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from usher.cli.main import main; main()"
)
"""The command, as from a terminal: what a shell starts in the background ignores Ctrl-C."""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_goes_on_without_repeating(
    site: Site, how: signal.Signals, tmp_path: Path
) -> None:
    """Ctrl-C or a kill: what was done stays, and no page is read twice but the one under way."""
    count = 6 * sync_place.SIZES[0]
    site.fill(count)
    begun = time.monotonic()
    go_on = Event()

    def slow(what: str) -> None:
        if "page=4&" in what and "per_page=200" in what:
            go_on.wait(60)

    site.before = slow
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENING, "sync", "--pull"],
        cwd=tmp_path,
        env=clean_environment(
            PYTHONPATH=str(ROOT),
            **{name: value for name, value in os.environ.items() if name.startswith("USHER_")},
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while 4 not in site.pages():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < begun + WAIT_SECONDS
        time.sleep(0.02)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    if how is signal.SIGINT:
        assert process.returncode == 1
        assert "Give the same command again" in said
    site.before = None
    go_on.set()
    time.sleep(0.3)  # Identity finds out that nobody waits any more
    with site.program.app() as app, app.store.database.write() as transaction:
        transaction.sql.execute(text("UPDATE syncs SET lease = NULL"))  # as after a minute
    done = site.sync("--pull", code=3)
    assert (done["resumed"], done["accounts"], done["records"]) == (True, count, count)
    assert site.pages() == [4, 5, 6]
    assert done["mended"] == {"missing_here": count}


def test_doctor_tells_when_it_was_and_what_is_left(site: Site) -> None:
    """Drift has an age."""

    def drift() -> dict[str, Any]:
        found = site.program("doctor", "--json", code=(0, 1)).stdout
        (one,) = [f for f in json.loads(found) if f["name"] == "drift"]
        return dict(one)

    assert drift()["facts"] == {}
    site.fill(2)
    site.sync(code=3)
    assert (drift()["key"], drift()["facts"]["left"]) == ("drift.here", {"missing_here": 2})
    site.sync("--both")
    assert (drift()["key"], drift()["facts"]["plan"]) == ("drift.ok", "both")
