"""Restarting without losing an event, with real processes behind nginx or Caddy."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import urllib3

from tests.deploy.senders import Senders, known
from tests.server.test_orphans import children
from tests.support import ROOT, WAIT_SECONDS, Server, account, free_port, signed

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
PAUSE_SECONDS = 2
"""A request that one process refused, and the other has in its hands, has no third to go to."""
StartServer = Callable[..., Server]


@contextmanager
def nginx(folder: Path, ports: tuple[int, int]) -> Iterator[str]:
    """deploy/nginx.conf with these ports; its URL."""
    assert NGINX
    port = free_port()
    server = (ROOT / "deploy" / "nginx.conf").read_text()
    for name, number in (("8881", ports[0]), ("8882", ports[1]), ("8888", port)):
        server = server.replace(name, str(number))
    here = f"{folder}/nginx"
    temporary = "".join(
        f"{kind}_temp_path {here}-{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"daemon off;\nmaster_process off;\npid {here}.pid;\nerror_log {here}.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{server}}}\n"
    )
    with proxy([NGINX, "-e", f"{here}.log", "-c", str(configuration)], port) as url:
        yield url


@contextmanager
def caddy(folder: Path, ports: tuple[int, int]) -> Iterator[str]:
    """deploy/Caddyfile with these ports and without TLS; its URL."""
    port = free_port()
    variables = {
        "USHER_HOST": f"http://127.0.0.1:{port}",
        "USHER_PROCESSES": " ".join(f"127.0.0.1:{each}" for each in ports),
        "HOME": str(folder),
        "CADDY_ADMIN": f"unix/{folder}/caddy.sock",
    }
    program = str(Path(sys.executable).with_name("caddy"))
    command = [program, "run", "--config", str(ROOT / "deploy" / "Caddyfile")]
    with proxy(command, port, variables) as url:
        yield url


@contextmanager
def proxy(
    command: list[str], port: int, variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A proxy that runs, and has been seen to answer; its URL."""
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env={**os.environ, **(variables or {})}
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            try:
                urllib3.request("GET", f"{url}/healthz", retries=False)
                break
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.skipif(not NGINX, reason="NOT RUN: this needs nginx (apt-get install nginx-light)")
def test_two_processes_behind_nginx_are_restarted_one_after_the_other_and_nothing_is_lost(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """By SIGTERM, and even by SIGKILL: the other process gets what the first did not answer."""
    restarted_one_by_one(start_server, database_url, partial(nginx, tmp_path))


def test_caddy_loses_nothing_either(
    start_server: StartServer, postgresql_url: str, tmp_path: Path
) -> None:
    """As compose.yaml has them: PostgreSQL, and Caddy in front of two."""
    restarted_one_by_one(start_server, postgresql_url, partial(caddy, tmp_path))


def restarted_one_by_one(
    start_server: StartServer,
    database_url: str,
    behind: Callable[[tuple[int, int]], AbstractContextManager[str]],
) -> None:
    """Each of two processes in turn, under load, and one of them killed."""
    ports = (free_port(), free_port())
    one, two = (start_server(database_url, port=port) for port in ports)
    with behind(ports) as url:
        senders = Senders(url)
        time.sleep(0.5)
        one.stop()
        one = start_server(database_url, port=ports[0])
        time.sleep(PAUSE_SECONDS)
        two.stop()
        two = start_server(database_url, port=ports[1])
        time.sleep(PAUSE_SECONDS)
        one.kill()
        one = start_server(database_url, port=ports[0])
        senders.finish()
    assert senders.lost == []
    assert len(senders.accepted) > 50
    assert {user_id.replace("-", "") for user_id in senders.accepted} == known(database_url)


def test_a_reload_changes_the_policy_and_refuses_no_connection(
    start_server: StartServer, sqlite_url: str, policy_file: Path
) -> None:
    """SIGHUP: the same worker goes on, and everybody is answered, whatever connection they have."""
    server = start_server(sqlite_url)
    workers = children(server.process.pid)
    policy_file.write_text(policy_file.read_text().replace('"member"', '"guest"'))
    senders = Senders(server.url)
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        answer = server.post(signed("login", account(), at=datetime.now(UTC)))
        if b'"guest"' in answer.data:
            break
        time.sleep(0.2)
    senders.finish()
    assert b'"guest"' in server.post(signed("login", account(), at=datetime.now(UTC))).data
    assert senders.lost == []
    assert senders.accepted
    assert children(server.process.pid) == workers
