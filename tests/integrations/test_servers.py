"""Guarded sites under Granian, by ASGI and WSGI, while roles are given and taken."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import urllib3

from tests.access_tokens import unsigned
from tests.api.api_support import BOSS, JWT_SECRET, People
from tests.integrations.conftest import asking
from tests.integrations.sites import example
from tests.support import ROOT, WAIT_SECONDS, Clock, clean_environment, free_port
from usher.core.app import utc_now
from usher.core.domain import administration
from usher.core.domain.keys import NewKey, Scope
from usher.core.errors import UsherError
from usher.integrations.guard import Guard, Visit

THREADS = 16
ROUNDS = 6


@contextmanager
def served(folder: Path, interface: str, heading: str, **variables: str) -> Iterator[str]:
    """An example of docs/guards.md under Granian; its address."""
    (folder / "site_of_mine.py").write_text(example(heading))
    port = free_port()
    with (folder / "site.log").open("ab") as log:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "granian", "--interface", interface, "--port", str(port),
                *(["--blocking-threads", str(THREADS)] if interface == "wsgi" else []),
                "--no-ws", "site_of_mine:app",
            ],
            cwd=folder,
            env=clean_environment(PYTHONPATH=str(ROOT), **variables),
            stdout=log,
            stderr=log,
        )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/account", process, folder / "site.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers a visitor without a token."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if urllib3.request("GET", url, retries=False).status == 401:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.fixture
def now(people: People, clock: Clock) -> People:
    """Everybody, in the database that the site asks too; it has the real time."""
    clock.now = utc_now()
    return people


def test_each_client_of_a_guard_with_a_key_has_a_limit_of_their_own(
    now: People, clock: Clock, start_server: Callable[..., Any]
) -> None:
    """The Usher that it asks counts the address that the guard names."""
    new = NewKey("site", frozenset({Scope.CLIENTS_NAME}), None)
    key, _ = now.app.keys.create(new, "test")
    server = start_server(
        now.app.settings.database_url,
        USHER_JWT_SECRET=JWT_SECRET.decode(),
        USHER_API_ADDRESS_REQUESTS_PER_MINUTE="3",
    )

    def ask(peer: str) -> str:
        try:
            return guard.check(Visit("GET", (now.token("user"),), peer=peer)).email
        except UsherError as error:
            return error.code

    guard = Guard(remember=0)
    with asking(server.url, clock, key=key):
        found = [ask("9.9.9.9") for _ in range(8)]
        assert found[:4] == ["user@example.com"] * 4  # by the first one the key becomes known
        assert "too_many_requests" in found
        assert ask("8.8.8.8") == "user@example.com"


@pytest.mark.parametrize(
    ("interface", "heading", "source"),
    [("asgi", "FastAPI", "database"), ("wsgi", "Flask", "database"), ("asgi", "FastAPI", "url")],
)
def test_a_server_under_load_answers_each_for_itself_and_never_500(
    now: People,
    tmp_path: Path,
    start_server: Callable[..., Any],
    policy_file: Path,
    interface: str,
    heading: str,
    source: str,
) -> None:
    """Many threads ask at once, while one person's role comes and goes."""
    people = now
    database = {
        "USHER_DATABASE_URL": people.app.settings.database_url,
        "USHER_JWT_SECRET": JWT_SECRET.decode(),
        "USHER_POLICY": str(policy_file),
    }
    if source == "url":
        server = start_server(
            people.app.settings.database_url, USHER_JWT_SECRET=JWT_SECRET.decode()
        )
        database = {"USHER_URL": server.url}
    users, over = people.app.store.users, threading.Event()

    def change(*roles: str) -> None:
        command = administration.set_roles(list(roles))
        users.change(users.get(people.ids["user"]), command, BOSS)

    def come_and_go() -> None:
        while not over.is_set():
            change("editor")
            change("member")

    asked = {
        "user": (people.token("user"), "/drafts", {200, 403}),
        "other": (people.token("other"), "/account", {200}),
        "suspended": (people.token("suspended"), "/account", {403}),
        "forged": (unsigned(people, "none"), "/account", {401}),
        "stranger": ("", "/account", {200}),
    }
    with served(tmp_path, interface, heading, **database) as url:
        pool = urllib3.PoolManager(maxsize=THREADS, retries=False, timeout=WAIT_SECONDS)

        def ask(name: str) -> tuple[str, int]:
            token, path, _ = asked[name]
            if name == "stranger":
                people.ids[name] = uuid4()
                token = people.token(name)
            answer = pool.request("GET", url + path, headers={"Authorization": token})
            if answer.status == 200 and path == "/account" and name != "stranger":
                assert answer.json()["id"] == str(people.ids[name])
            return name, answer.status

        changing = threading.Thread(target=come_and_go)
        changing.start()
        try:
            with ThreadPoolExecutor(THREADS) as threads:
                found = Counter(threads.map(ask, list(asked) * THREADS * ROUNDS))
        finally:
            over.set()
            changing.join()
        wrong = {each: n for each, n in found.items() if each[1] not in asked[each[0]][2]}
        assert wrong == {}, (tmp_path / "site.log").read_text()[-5000:]
        if source == "database":
            change("editor")
            assert ask("user")[1] == 200
            change("member")
            assert ask("user")[1] == 403
        pool.clear()
