"""A policy is reloaded in every worker of a real server, under load; a wrong one never is."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
import urllib3
from sqlalchemy import text

from tests.server.reload_support import (
    COLOURS,
    FINGERPRINTS,
    all_decide_by,
    folder_in,
    policy_of,
    put,
    state_of,
    until,
)
from tests.support import SECRET, Server, account, signed
from usher.core.store.database import Database

StartServer = Callable[..., Server]
CLIENTS = 4
RELOADS = 25
SPOOL = ".usher-spool"


class Clients:
    """People who sign up, every other one from a domain that both policies refuse.

    Attributes:
        told: by person, status and the colour that all of the answer named.
    """

    def __init__(self, server: Server) -> None:
        self.told: dict[UUID, tuple[int, str]] = {}
        self.wrong: list[object] = []
        self._server = server
        self._stop = Event()
        self._threads = [Thread(target=self._run) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        domain = "in.example"
        while not self._stop.wait(0.001):
            domain = "out.example" if domain == "in.example" else "in.example"
            who = account(user_id=uuid4(), email=f"{uuid4().hex}@{domain}", at=datetime.now(UTC))
            try:
                answer = self._server.post(signed("signup", who, at=datetime.now(UTC)))
                said = answer.json()
            except (urllib3.exceptions.HTTPError, ValueError) as error:
                self.wrong.append(error)
                continue
            if answer.status == 403:
                named = {said["error"]["message"] if "error" in said else said["detail"]}
            else:
                app_metadata = said.get("app_metadata", {})
                named = {app_metadata.get("plan"), *app_metadata.get("roles", [])}
            if len(named) != 1 or answer.status != (403 if domain == "out.example" else 200):
                self.wrong.append((answer.status, said))
            else:
                self.told[who.id] = (answer.status, named.pop())

    def finish(self) -> None:
        """Stop them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_each_event_under_reloads_is_decided_by_one_policy_whole_and_none_is_refused(
    start_server: StartServer, database_url: str, policy_file: Path, tmp_path: Path
) -> None:
    """Answer, roles, constants, record and fingerprint of each are of the same policy."""
    put(policy_file, policy_of("red"))
    server = start_server(database_url, "--workers", "2")
    folder = folder_in(tmp_path / SPOOL)
    clients = Clients(server)
    for turn in range(1, RELOADS + 1):
        colour = COLOURS[turn % 2]
        fingerprint = FINGERPRINTS[colour]
        put(policy_file, policy_of(colour))
        if turn % 3:
            server.process.send_signal(signal.SIGHUP)
        else:
            folder.ask("cli:ada")
        until(partial(all_decide_by, folder, fingerprint))
    clients.finish()
    until(lambda: not folder.has_changes())
    server.stop()
    assert clients.wrong == []
    assert set(Counter(clients.told.values())) == {(s, c) for s in (200, 403) for c in COLOURS}
    database = Database(database_url)
    with database.read() as transaction:
        kept = transaction.sql.execute(text("SELECT user_id, policy FROM deliveries")).all()
        audited = transaction.sql.execute(
            text("SELECT after FROM audit WHERE action = 'policy.reloaded' ORDER BY at")
        ).all()
    database.dispose()
    assert {UUID(str(row.user_id)): row.policy for row in kept} == {
        who: FINGERPRINTS[colour] for who, (_, colour) in clients.told.items()
    }
    assert [decoded(row.after)["policy"] for row in audited] == [
        FINGERPRINTS[COLOURS[turn % 2]] for turn in range(1, RELOADS + 1)
    ]


def test_a_reload_is_audited_once_and_not_once_a_worker(
    start_server: StartServer, database_url: str, policy_file: Path, tmp_path: Path
) -> None:
    """With both fingerprints, by whom, as an act about the site; told in the log, too."""
    put(policy_file, policy_of("red"))
    server = start_server(database_url, "--workers", "2")
    folder = folder_in(tmp_path / SPOOL)
    put(policy_file, policy_of("blue"))
    folder.ask("cli:ada")
    until(lambda: all_decide_by(folder, FINGERPRINTS["blue"]))
    assert folder.has_changes()  # no instance is known yet, and so there is no audit
    server.post(signed("validate", account(at=datetime.now(UTC)), at=datetime.now(UTC)))
    until(lambda: not folder.has_changes())
    database = Database(database_url)
    with database.read() as transaction:
        rows = transaction.sql.execute(
            text("SELECT actor, user_id, before, after FROM audit WHERE action='policy.reloaded'")
        ).all()
    database.dispose()
    (row,) = rows
    assert (row.actor, UUID(str(row.user_id)).int) == ("cli:ada", 0)
    assert (decoded(row.before), decoded(row.after)) == (
        {"policy": FINGERPRINTS["red"]},
        {"policy": FINGERPRINTS["blue"]},
    )
    assert lines(server, "policy.reloaded") == [("cli:ada", FINGERPRINTS["blue"])]


def decoded(column: Any) -> Any:
    """A column of JSON, which SQLite gives as text."""
    return json.loads(column) if isinstance(column, str) else column


def lines(server: Server, event: str) -> list[tuple[str, str]]:
    """The lines of this name in the log: actor and policy."""
    found = [json.loads(line) for line in server.log.read_text().splitlines() if line[:1] == "{"]
    return [
        (line["actor"], line.get("after") or line["policy"])
        for line in found
        if line["event"] == event
    ]


def unlink(path: Path) -> None:
    """There is no file any more."""
    path.unlink()


def make_folder(path: Path) -> None:
    """A folder of that name."""
    path.unlink()
    path.mkdir()


def holding(content: str | bytes) -> Callable[[Path], object]:
    """A file of this content."""
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data)


WRONG = {
    "absent": unlink,
    "a folder": make_folder,
    "of no bytes": holding(""),
    "a comment": holding("# to be written\n\n"),
    "cut off in its first line": holding("[admi"),
    "cut off after its first line": holding("[admission]\n"),
    "cut off in a value": holding('[admission]\ndefault = "de'),
    "with an unknown key": holding('[admission]\ndefalt = "deny"\n'),
    "with an impossible value": holding('[admission]\ndefault = "maybe"\n'),
    "with a table of another name": holding('[admision]\ndefault = "deny"\n'),
    "no text": holding(b"\xff\xfe[\x00a\x00"),
    "whose own test fails": holding('[[test]]\nwho = "a@b.example"\nexpect = "refused"\n'),
    "whose list is absent": holding('[admission]\ndeny_emails = { file = "absent.txt" }\n'),
    "whose list is empty": holding('[admission]\ndeny_emails = { file = "empty.txt" }\n'),
    "of zeros": holding(b"\x00" * 4096),
}


@pytest.fixture(scope="module")
def closed(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, Path]]:
    """One server for all wrong files, whose policy admits nobody."""
    place = tmp_path_factory.mktemp("closed")
    (place / "usher.db").write_bytes(sqlite_template.read_bytes())
    policy = place / "policy.toml"
    policy.write_text(CLOSED)
    (place / "empty.txt").write_text("# nobody yet\n")
    settings = {
        "USHER_DATABASE_URL": f"sqlite:///{place / 'usher.db'}",
        "USHER_WEBHOOK_SECRETS": SECRET.decode(),
    }
    server = Server(place, settings, "--workers", "2")
    yield server, policy
    server.stop()


CLOSED = '[admission]\ndefault = "deny"\n'


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_file_never_opens_the_door(closed: tuple[Server, Path], kind: str) -> None:
    """The old policy stays in every worker, and it is told what is wrong, once, until mended."""
    server, policy = closed
    shared = folder_in(policy.parent / SPOOL)
    before = len(lines(server, "policy.rejected"))
    WRONG[kind](policy)
    asked = shared.ask("cli:ada")
    until(lambda: state_of(shared).answered >= asked)
    told = state_of(shared)
    assert told.rejected
    until(lambda: all_decide_by(shared, told.fingerprint))  # one may be starting still
    assert refused(server)
    assert lines(server, "policy.rejected")[before:] == [("cli:ada", told.fingerprint)]
    if policy.is_dir():
        policy.rmdir()
    put(policy, CLOSED)
    asked = shared.ask("cli:ada")
    until(lambda: state_of(shared).answered >= asked)
    assert not state_of(shared).rejected


def refused(server: Server) -> bool:
    """Whether nobody is admitted, by either worker."""
    answers = []
    for _ in range(6):
        server.pool.clear()  # each time another connection, and perhaps another worker
        now = datetime.now(UTC)
        answers.append(server.post(signed("validate", account(at=now), at=now)).status)
    return set(answers) == {403}


def test_a_worker_that_starts_beside_a_wrong_file_decides_by_the_policy_in_force(
    start_server: StartServer, sqlite_url: str, policy_file: Path, tmp_path: Path
) -> None:
    """The one that was killed is replaced, and the file is not read; a new server refuses it."""
    put(policy_file, CLOSED)
    server = start_server(sqlite_url, "--workers", "2")
    shared = folder_in(tmp_path / SPOOL)
    until(lambda: len(shared.workers()) == 2)
    fingerprint = state_of(shared).fingerprint
    policy_file.write_text("")  # would admit everybody
    killed = min(shared.workers())
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in shared.workers() and all_decide_by(shared, fingerprint))
    assert refused(server)
    put(policy_file, CLOSED + '[[role]]\ngrant = "member"\n')
    server.process.send_signal(signal.SIGHUP)
    until(lambda: all_decide_by(shared, state_of(shared).fingerprint))
    until(lambda: state_of(shared).fingerprint != fingerprint)
    server.stop()
    policy_file.write_text("[admision]")
    with pytest.raises(AssertionError, match="unknown key 'admision'"):
        start_server(sqlite_url, "--workers", "2")


def test_a_list_is_read_again_with_the_policy_and_a_wrong_one_keeps_both(
    start_server: StartServer, sqlite_url: str, policy_file: Path, tmp_path: Path
) -> None:
    """Its new entries count in each worker; a worker that starts later has the list in force."""
    listed = tmp_path / "closed.txt"
    put(listed, "nobody.example\n")
    put(policy_file, '[admission]\ndeny_email_domains = { file = "closed.txt" }\n')
    server = start_server(sqlite_url, "--workers", "2")
    shared = folder_in(tmp_path / SPOOL)
    put(listed, "nobody.example\nexample.com\n")
    asked = shared.ask("cli:ada")
    until(lambda: state_of(shared).answered >= asked)
    fingerprint = state_of(shared).fingerprint
    until(lambda: all_decide_by(shared, fingerprint))
    assert refused(server)
    put(listed, "")
    asked = shared.ask("cli:ada")
    until(lambda: state_of(shared).answered >= asked)
    assert "closed.txt has no entry" in state_of(shared).rejected
    listed.unlink()
    killed = min(shared.workers())
    os.kill(killed, signal.SIGKILL)
    until(lambda: killed not in shared.workers() and all_decide_by(shared, fingerprint))
    assert refused(server)


def test_what_a_killed_server_left_is_removed_and_its_audit_taken_over(
    start_server: StartServer, sqlite_url: str, policy_file: Path, tmp_path: Path
) -> None:
    """Killed before any instance was known, so that its reload was not in the audit yet."""
    put(policy_file, policy_of("red"))
    server = start_server(sqlite_url)
    shared = folder_in(tmp_path / SPOOL)
    put(policy_file, policy_of("blue"))
    shared.ask("cli:ada")
    until(lambda: all_decide_by(shared, FINGERPRINTS["blue"], 1))
    server.kill()
    again = start_server(sqlite_url)
    other = folder_in(tmp_path / SPOOL)
    assert not shared.path.exists()
    assert other.has_changes()
    again.post(signed("validate", account(at=datetime.now(UTC)), at=datetime.now(UTC)))
    until(lambda: not other.has_changes())
    again.stop()
    assert not other.path.exists()


def test_code_is_not_reloaded_and_the_log_says_so(
    start_server: StartServer, sqlite_url: str, tmp_path: Path
) -> None:
    """It decides on; a process cannot read code again."""
    (tmp_path / "reloaded_rules.py").write_text(
        "from usher.core.domain.policy import Verdict\n\n"
        "def decide(applicant):\n    return Verdict(admitted=False)\n"
    )
    server = start_server(sqlite_url, USHER_POLICY="reloaded_rules:decide")
    shared = folder_in(tmp_path / SPOOL)
    server.process.send_signal(signal.SIGHUP)
    until(lambda: bool(lines(server, "policy.rejected")))
    assert "restart the server" in state_of(shared).rejected
    assert refused(server)
