"""The database broken for real under a running server, which takes events all the same."""

from __future__ import annotations

import json
import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import psycopg
import pytest

from tests.cluster import template
from tests.server.outages import (
    Cluster,
    StartServer,
    now,
    posted,
    ready,
    rows,
    signup,
    taken_up,
    user,
    wait_until,
)
from tests.support import ROOT, Server, Signed, account, apart, clean_environment, free_port, signed


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data that each PostgreSQL begins with."""
    return template(tmp_path_factory)


@pytest.fixture
def cluster(made: Path) -> Iterator[Cluster]:
    """A PostgreSQL of this test's own."""
    with apart() as folder, closing(Cluster(folder, made)) as found:
        yield found


def five(who: str = "ada") -> list[Signed]:
    """One of each event, each of another person."""
    return [
        signed(name, account(email=f"{who}{name}@example.com"), at=now())
        for name in ("validate", "signup", "login", "usermodified", "userdeleted")
    ]


def through_an_outage(server: Server, url: str, restore: Callable[[], object]) -> None:
    """All five are answered in time and as documented, twice; and are there when it is back."""
    deliveries = five()
    given = [posted(server, delivery) for delivery in deliveries]
    assert given == [204, 200, 204, 202, 202]
    assert [posted(server, delivery) for delivery in deliveries] == given
    assert ready(server) == "degraded"
    restore()
    taken_up(server, url, dict(zip(map(user, deliveries), given, strict=True)))
    assert [posted(server, delivery) for delivery in deliveries] == given
    assert posted(server, signup("later@example.com")) == 200


def test_postgresql_killed_and_started_again(start_server: StartServer, cluster: Cluster) -> None:
    """Kill -9 of the whole cluster; recovery without a restart of ours."""
    server = start_server(cluster.url)
    assert posted(server, signup("first@example.com")) == 200
    cluster.say("TRUNCATE users, grants, deliveries, audit, counters")
    cluster.kill()
    through_an_outage(server, cluster.url, cluster.start)


def test_postgresql_restarted_between_two_events_is_not_even_noticed(
    start_server: StartServer, cluster: Cluster
) -> None:
    """Every pooled connection is dead; the event gets its full answer all the same."""
    server = start_server(cluster.url)
    assert posted(server, signup("first@example.com")) == 200
    cluster.kill()
    cluster.start()
    ada = account(email="owner@example.com")
    assert posted(server, signed("login", ada, at=now())) == 200
    assert "outage.began" not in server.log.read_text()
    cluster.say(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )
    assert posted(server, signed("login", account(), at=now())) == 200
    assert "outage.began" not in server.log.read_text()


def test_postgresql_frozen_in_the_middle_of_everything(
    start_server: StartServer, cluster: Cluster
) -> None:
    """It takes connections and answers nothing; we answer in time, and apply when it goes on."""
    server = start_server(cluster.url)
    cluster.freeze(on=True)
    through_an_outage(server, cluster.url, lambda: cluster.freeze(on=False))


def test_postgresql_read_only(start_server: StartServer, cluster: Cluster) -> None:
    """As a standby is, after a fail-over."""
    server = start_server(cluster.url)
    read_only = "ALTER SYSTEM SET default_transaction_read_only = "
    cluster.say(read_only + "on", "SELECT pg_reload_conf()")
    wait_until(lambda: _refuses_writes(cluster))
    through_an_outage(
        server,
        cluster.url,
        lambda: cluster.say(read_only + "off", "SELECT pg_reload_conf()"),
    )


def _refuses_writes(cluster: Cluster) -> bool:
    with psycopg.connect(cluster.plain) as connection:
        return connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)


def test_postgresql_locked_by_somebody_else(start_server: StartServer, cluster: Cluster) -> None:
    """A migration that takes long, say."""
    server = start_server(cluster.url)
    with psycopg.connect(cluster.plain) as other:
        other.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        through_an_outage(server, cluster.url, other.rollback)


def test_postgresql_without_a_connection_to_spare(
    start_server: StartServer, cluster: Cluster
) -> None:
    """Somebody else holds them all."""
    server = start_server(cluster.url)
    with ExitStack() as others:
        with suppress(psycopg.OperationalError):
            while True:
                others.enter_context(closing(psycopg.connect(cluster.plain)))
        through_an_outage(server, cluster.url, others.close)


def test_postgresql_slow(start_server: StartServer, cluster: Cluster) -> None:
    """A transaction that takes half a minute is ended, and the event answered in time."""
    server = start_server(cluster.url)
    cluster.say(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(30); RETURN NULL; END'",
        "CREATE TRIGGER dawdle AFTER INSERT ON deliveries EXECUTE FUNCTION dawdle()",
    )
    through_an_outage(
        server,
        cluster.url,
        lambda: cluster.say(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'",
            "DROP TRIGGER dawdle ON deliveries",
        ),
    )


def test_readiness_is_told_while_postgresql_says_nothing(
    start_server: StartServer, cluster: Cluster
) -> None:
    """However often it is asked: what waits for the database is ended, and threads come free.

    The metrics wait for nothing of that.
    """
    token = "a-token-of-thirty-two-bytes-or-more"
    server = start_server(cluster.url, USHER_METRICS_TOKEN=token)
    assert ready(server) == "ok"
    cluster.freeze(on=True)
    with ThreadPoolExecutor(12) as crowd:
        told = crowd.map(lambda _: ready(server), range(12))
        time.sleep(0.5)
        bearer = {"Authorization": f"Bearer {token}"}
        assert server.pool.request("GET", f"{server.url}/metrics", headers=bearer).status == 200
        assert set(told) == {"degraded"}
    cluster.freeze(on=False)
    wait_until(lambda: ready(server) == "ok")


LOCK = """
import sqlite3, sys, time
file = sqlite3.connect(sys.argv[1], isolation_level=None)
file.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


def test_sqlite_locked_by_another_process(start_server: StartServer, sqlite_url: str) -> None:
    """For longer than the two seconds that anybody waits for it."""
    server = start_server(sqlite_url)
    path = sqlite_url.removeprefix("sqlite:///")
    other = subprocess.Popen(
        [sys.executable, "-c", LOCK, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"locked\n"

    def release() -> None:
        other.communicate()

    through_an_outage(server, sqlite_url, release)


def test_sqlite_file_gone_and_back(start_server: StartServer, sqlite_url: str) -> None:
    """A folder that was not mounted: the file cannot be opened."""
    path = Path(sqlite_url.removeprefix("sqlite:///"))
    moved = path.parent / "elsewhere"
    folder = path.parent / "database"
    folder.mkdir()
    path = path.rename(folder / "usher.db")
    url = f"sqlite:///{path}"
    server = start_server(url, USHER_SPOOL=str(folder.parent / "spool"))
    folder.rename(moved)
    through_an_outage(server, url, lambda: moved.rename(folder))


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A tmpfs of so many bytes; skipped where one may not mount."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        for size in (65_536, 4_096, 512, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_postgresql_on_a_full_disk_with_the_spool_on_another(
    start_server: StartServer, tmp_path: Path, made: Path
) -> None:
    """It stops when it cannot write its log; with room again it is started, and goes on."""
    with (
        apart() as folder,
        small_disk(folder / "disk", "100m") as disk,
        closing(Cluster(disk, made)) as cluster,
    ):
        server = start_server(cluster.url, USHER_SPOOL=str(tmp_path / "spool"))
        ballast = disk / "ballast"
        fill(ballast)
        answers = {}
        for number in range(60):  # until what it had set aside for itself is used up
            delivery = signup(f"p{number}@example.com")
            answers[user(delivery)] = posted(server, delivery)
            if ready(server) == "degraded":
                break
        assert set(answers.values()) == {200}
        assert ready(server) == "degraded"
        ballast.unlink()
        cluster.start()
        taken_up(server, cluster.url, answers)
        server.stop()


def test_sqlite_on_a_full_disk_with_the_spool_on_another(
    start_server: StartServer, sqlite_template: Path, tmp_path: Path
) -> None:
    """Events are taken; with room again they are applied."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        (disk / "usher.db").write_bytes(sqlite_template.read_bytes())
        url = f"sqlite:///{disk / 'usher.db'}"
        server = start_server(url, USHER_SPOOL=str(tmp_path / "spool"))
        fill(disk / "ballast")
        through_an_outage(server, url, (disk / "ballast").unlink)
        server.stop()


def test_a_disk_that_is_full_for_the_spool_too_means_503_and_never_an_unkept_2xx(
    start_server: StartServer, sqlite_template: Path, tmp_path: Path
) -> None:
    """What is answered 2xx is there in the end, what is answered 503 need not be."""
    with small_disk(tmp_path / "disk", "2m") as disk:
        (disk / "usher.db").write_bytes(sqlite_template.read_bytes())
        url = f"sqlite:///{disk / 'usher.db'}"
        server = start_server(url)
        answers: dict[str, int] = {}
        fill(disk / "ballast")
        for number in range(20):
            delivery = signup(f"p{number}@example.com")
            answers[user(delivery)] = posted(server, delivery)
        assert 503 in answers.values()
        assert ready(server) == "spool_unavailable"
        (disk / "ballast").unlink()
        kept = {who: status for who, status in answers.items() if status != 503}
        taken_up(server, url, kept)
        assert posted(server, signup("later@example.com")) == 200
        server.stop()


def limit_files(server: Server, size: int) -> None:
    """No file of the server may grow beyond this (``RLIMIT_FSIZE``), as under a quota: EFBIG."""
    first = psutil.Process(server.process.pid)
    for process in (first, *first.children(recursive=True)):
        _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, hard))


def test_sqlite_may_not_grow(start_server: StartServer, sqlite_url: str) -> None:
    """A quota that the database has reached and the spool has not."""
    server = start_server(sqlite_url)
    limit_files(server, 64 * 1024)
    through_an_outage(server, sqlite_url, lambda: limit_files(server, resource.RLIM_INFINITY))


def kept_in(server: Server) -> list[Path]:
    """The files of the spool; the folder that the server's processes share is none of them."""
    folder = server.log.parent / ".usher-spool"
    return [path for path in folder.iterdir() if not path.name.startswith("server-")]


def test_no_file_may_grow_not_even_the_log(start_server: StartServer, sqlite_url: str) -> None:
    """Neither database nor spool: 503 for each, no file left for each; and it recovers."""
    server = start_server(sqlite_url)
    limit_files(server, 0)
    assert {posted(server, delivery) for delivery in five()} == {503}
    assert ready(server) == "spool_unavailable"
    assert kept_in(server) == []
    limit_files(server, resource.RLIM_INFINITY)
    taken_up(server, sqlite_url, {})
    assert posted(server, signup("later@example.com")) == 200


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder on no disk: the faked clock reads its file whenever the server asks for the time."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)


@pytest.mark.skipif(FAKETIME is None, reason="needs libfaketime (a package of Debian)")
def test_a_servers_clock_jumps_back_and_forth(
    start_server: StartServer, sqlite_url: str, in_memory: Path
) -> None:
    """Within the tolerance nobody notices; beyond it events are stale, until it is right again."""
    offset = in_memory / "offset"

    def jump_to(seconds: int) -> None:
        new = in_memory / "new"
        new.write_text(f"{seconds:+}")
        new.replace(offset)  # at once: whoever reads it must not find it empty

    jump_to(0)
    server = start_server(
        sqlite_url,
        LD_PRELOAD=str(FAKETIME),
        FAKETIME_TIMESTAMP_FILE=str(offset),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    answers: dict[str, int] = {}

    def jump(*jumps: int) -> list[int]:
        given = []
        for seconds in jumps:
            jump_to(seconds)
            delivery = signup(f"p{len(answers)}{seconds}@example.com")
            given.append(posted(server, delivery))
            answers[user(delivery)] = given[-1]
        return given

    assert jump(0, 250, -50, 200) == [200] * 4
    limit_files(server, 64 * 1024)
    assert jump(250, -50, 0, 200) == [200] * 4
    assert ready(server) == "degraded"
    jump_to(-50)
    limit_files(server, resource.RLIM_INFINITY)
    taken_up(server, sqlite_url, answers)
    arrived = rows(sqlite_url, "SELECT user_id FROM deliveries ORDER BY sequence")
    assert [str(row[0]).replace("-", "") for row in arrived] == list(answers)
    assert jump(3_600, -3_600, 0) == [401, 401, 200]


def test_sqlite_read_only(start_server: StartServer, sqlite_template: Path, tmp_path: Path) -> None:
    """The disk is remounted read-only, as Linux does after an error; the spool is on another."""
    with small_disk(tmp_path / "disk", "8m") as disk:
        (disk / "usher.db").write_bytes(sqlite_template.read_bytes())
        url = f"sqlite:///{disk / 'usher.db'}"
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        server = start_server(url, USHER_SPOOL=str(tmp_path / "spool"))
        through_an_outage(
            server,
            url,
            lambda: subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True),
        )
        server.stop()


def test_a_server_starts_while_the_database_is_away_and_takes_over_the_spool(
    start_server: StartServer, cluster: Cluster
) -> None:
    """Killed with a full spool, started again, database back: everything is there, once."""
    server = start_server(cluster.url)
    cluster.kill()
    answers = {}
    for number in range(10):
        delivery = signup(f"p{number}@example.com")
        answers[user(delivery)] = posted(server, delivery)
    server.kill()
    second = start_server(cluster.url)
    assert ready(second) == "degraded"
    delivery = signup("last@example.com")
    answers[user(delivery)] = posted(second, delivery)
    cluster.start()
    taken_up(second, cluster.url, answers)
    assert "Starting all the same" in second.log.read_text()


def test_a_server_does_not_start_where_neither_database_nor_spool_can_be_used(
    tmp_path: Path, policy_file: Path
) -> None:
    """It would answer nothing but 503."""
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "usher.cli", "serve", "--port", str(free_port())],
        cwd=tmp_path,
        env=clean_environment(
            PYTHONPATH=str(ROOT),
            USHER_WEBHOOK_SECRETS="0" * 32,
            USHER_POLICY=str(policy_file),
            USHER_DATABASE_URL=f"sqlite:///{tmp_path}/nowhere/usher.db",
            USHER_SPOOL=str(tmp_path / "file" / "spool"),
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "The database cannot be used: " in done.stderr
    assert "spool cannot be written" in done.stderr


def test_two_servers_on_one_postgresql_share_a_folder_for_the_spool(
    start_server: StartServer, cluster: Cluster, tmp_path: Path
) -> None:
    """Each writes files of its own; the same event at both has one effect."""
    folder = str(tmp_path / "spool")
    servers = [start_server(cluster.url, USHER_SPOOL=folder) for _ in range(2)]
    cluster.kill()
    deliveries = [signup(f"p{number}@example.com") for number in range(10)]
    answers = {}
    for delivery in deliveries:
        both = {posted(server, delivery) for server in servers}
        assert both == {200}
        answers[user(delivery)] = 200
    cluster.start()
    for server in servers:
        wait_until(lambda server=server: ready(server) == "ok")  # type: ignore[misc]
    taken_up(servers[0], cluster.url, answers)


def test_a_long_read_holds_up_no_event(start_server: StartServer, database_url: str) -> None:
    """An export, say, that has its view of the database open all the time."""
    server = start_server(database_url)
    assert posted(server, signup("first@example.com")) == 200
    plain = database_url.replace("postgresql+psycopg://", "postgresql://")
    reader = (
        sqlite3.connect(database_url.removeprefix("sqlite:///"))
        if database_url.startswith("sqlite")
        else psycopg.connect(plain)
    )
    with closing(reader):
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM deliveries").fetchone()
        with ThreadPoolExecutor(8) as crowd:
            answers = list(
                crowd.map(
                    lambda number: posted(server, signup(f"p{number}@example.com")), range(100)
                )
            )
        assert set(answers) == {200}
    assert rows(database_url, "SELECT count(*) FROM deliveries") == [(101,)]


def test_two_servers_on_one_sqlite_file(start_server: StartServer, sqlite_url: str) -> None:
    """Both write at once, each waits its turn, and nothing is lost or doubled."""
    servers = [start_server(sqlite_url) for _ in range(2)]
    deliveries = [signup(f"p{number}@example.com") for number in range(100)]
    with ThreadPoolExecutor(8) as crowd:
        answers = list(crowd.map(lambda d: [posted(s, d) for s in servers], deliveries))
    assert {status for both in answers for status in both} == {200}
    for server in servers:
        wait_until(lambda server=server: ready(server) == "ok")  # type: ignore[misc]
    assert rows(sqlite_url, "SELECT count(*) FROM deliveries") == [(100,)]


def test_the_log_tells_the_story(start_server: StartServer, cluster: Cluster) -> None:
    """It began, what was kept, and how much was applied when it ended."""
    server = start_server(cluster.url)
    cluster.kill()
    assert posted(server, signup()) == 200
    cluster.start()
    wait_until(lambda: ready(server) == "ok")
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line[0] == "{"]
    apart = ("maintenance", "instance")
    told = [line for line in lines if line["event"].partition(".")[0] not in apart]
    told = [line for line in told if line["event"] != "outage.lasts"]
    names = [line["event"] for line in told]
    assert names == ["outage.began", "event.held", "event.applied", "outage.ended"]
    assert (told[1]["status"], told[1]["rules"]) == (200, ["outage.policy"])
    assert told[3]["applied"] == 1
    assert kept_in(server) == []
