"""``usher netlify dev``: what it refuses, starts and ends, and what it gives to functions."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil
import pytest
import urllib3

from tests.cli.conftest import Program
from tests.netlify import conftest as netlify
from tests.netlify.conftest import VARIABLES
from tests.netlify_dev import CONFIGURATION, NetlifyDev, make_site, usher_netlify_dev
from tests.support import free_port
from usher.cli.netlify.dev import bundle, database
from usher.core.errors import PolicyError
from usher.netlify.configuration import BUILT

built = netlify.site

PROGRAM = """#!/usr/bin/env node
// In the place of Netlify's command line: says what it was given, and echoes a web socket.
const http = require("node:http");
const port = Number(process.argv[process.argv.indexOf("--port") + 1]);
const server = http.createServer((request, answer) => {
  answer.end(JSON.stringify({ url: request.url, host: request.headers.host, env: process.env }));
});
server.on("upgrade", (request, socket) => {
  const lines = ["HTTP/1.1 101 Switching", "Upgrade: echo", "Connection: Upgrade", "", ""];
  socket.write(lines.join("\\r\\n"));
  socket.pipe(socket);
});
server.listen(port, "127.0.0.1", () => console.log(`ready at http://localhost:${port}/`));
"""
THERE = {"node_modules/.bin/netlify": PROGRAM}
REAL = "a-secret-of-the-real-installation"


@pytest.fixture
def running(built: Path, empty_postgresql: str, tmp_path: Path) -> Iterator[NetlifyDev]:
    """The command, with a program that is quick in the place of Netlify's."""
    folder = make_site(tmp_path / "site", built, "", VARIABLES)
    (folder / ".env").write_text(f"USHER_WEBHOOK_SECRETS={REAL}\nUSHER_JWT_AUDIENCE=real\n")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "netlify").write_text(PROGRAM)
    (programs / "netlify").chmod(0o755)
    real = {"USHER_INSTANCE_ID": "11111111-1111-4111-8111-111111111111", "USHER_KEY": REAL}
    with usher_netlify_dev(folder, programs, empty_postgresql, **VARIABLES, **real) as running:
        yield running


def test_one_address_has_the_site_and_identity(running: NetlifyDev, empty_postgresql: str) -> None:
    """The site's own address has both, another port the console; Ctrl-C ends all of it."""
    told = get(f"{running.site}/a-page?of=it").json()
    assert (told["url"], told["host"]) == ("/a-page?of=it", running.site.removeprefix("http://"))
    settings = told["env"]
    assert settings["USHER_IDENTITY_URL"] == f"{running.site}/.netlify/identity"
    assert settings["USHER_DATABASE_URL"].startswith("postgresql://")
    assert settings["USHER_HANDLERS"] == VARIABLES["USHER_HANDLERS"]
    assert REAL not in json.dumps(settings)
    assert (settings["USHER_INSTANCE_ID"], settings["USHER_JWT_AUDIENCE"]) == ("", "")
    for site in (running.site, running.console):
        assert get(f"{site}/.netlify/identity/health").json()["name"] == "GoTrue"
        assert get(f"{site}/_dev/mail").status == 200
        assert get(f"{site}/api/users").json()["url"] == "/api/users"
    assert "Usher" in get(f"{running.console}/").data.decode()
    assert get(f"{running.site}/.netlify/identitytheft").json()["url"].endswith("theft")
    assert get(running.site, host="evil.example").status == 403
    assert get(running.console, host="evil.example").status == 403
    assert echoed(running.port, b"hello") == b"hello"
    assert f"netlify | ready at http://127.0.0.1:{running.port}/" in running.log.read_text()
    ends(running, signal.SIGINT, 0)


def test_nothing_is_left_where_it_is_killed(running: NetlifyDev) -> None:
    """Netlify's command line would hold its port, and serve nobody."""
    ends(running, signal.SIGKILL, -signal.SIGKILL)


def ends(running: NetlifyDev, how: signal.Signals, code: int) -> None:
    """The command ends with this code, and all that it started ends with it."""
    parts = running.parts
    assert len(parts) == 2
    running.process.send_signal(how)
    assert running.process.wait(60) == code
    assert psutil.wait_procs(parts, 60)[1] == []


def get(url: str, **headers: str) -> urllib3.BaseHTTPResponse:
    """An answer; JSON, where there is a choice."""
    headers = {"Accept": "application/json", **headers}
    return urllib3.request("GET", url, headers=headers, retries=False, timeout=60)


def echoed(port: int, data: bytes) -> bytes:
    """The bytes that come back by a web socket."""
    with socket.create_connection(("127.0.0.1", port), 60) as line, line.makefile("rb") as answer:
        line.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: echo\r\nConnection: Upgrade\r\n"
        )
        line.sendall(b"\r\n")
        assert b"101" in answer.readline()
        while answer.readline().strip():
            pass
        line.sendall(data)
        return answer.read(len(data))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "usher netlify setup"),
        ({"netlify.toml": "[build"}, "no TOML"),
        ({"netlify.toml": CONFIGURATION}, "npm install --save-dev netlify-cli"),
        ({"netlify.toml": CONFIGURATION, **THERE, ".env.local": f"USHER_KEY={REAL}"}, "USHER_KEY"),
        ({"netlify.toml": CONFIGURATION, **THERE}, "docker run"),
    ],
)
def test_first_thing_that_is_missing_is_told(
    bare: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    words: str,
) -> None:
    """With what to do about it, and before anything is written."""
    monkeypatch.setenv("PATH", "")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    assert words in bare("netlify", "dev", "--port", str(free_port()), code=1).output
    assert not (tmp_path / ".usher").exists()


HERE = "postgresql://me@127.0.0.1:5432/shop"
AWAY = "postgresql://me@db.example.com/shop"


@pytest.mark.parametrize(
    ("named", "file", "expected"),
    [
        (None, HERE, f"{HERE}?sslmode=disable"),
        (AWAY, HERE, AWAY),
        (HERE.replace("postgresql:", "postgresql+psycopg:"), "", f"{HERE}?sslmode=disable"),
        (f"{HERE}?connect_timeout=2", "", f"{HERE}?connect_timeout=2&sslmode=disable"),
        (f"{HERE}?sslmode=verify-full", "", f"{HERE}?sslmode=verify-full"),
        ("postgres://me@[::1]/shop", "", "postgresql://me@[::1]/shop?sslmode=disable"),
        ("postgresql://me@/shop?host=/run/pg", "", "postgresql://me@/shop?host=/run/pg&sslmode=disable"),
        ("postgresql://me@localhost,db.example.com/shop", "", "postgresql://me@localhost,db.example.com/shop"),
    ],
)  # fmt: skip
def test_database_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, file: str, expected: str
) -> None:
    """TLS is left out where nothing leaves this machine, and nowhere else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"USHER_DATABASE_URL={file}\n")
    assert database.choose(named).replace("+psycopg", "") == expected


@pytest.mark.parametrize(
    ("named", "file", "words"),
    [
        (None, "", "none is named"),
        (None, "sqlite:///usher.db", "SQLite"),
        ("sqlite:///usher.db", "", "SQLite"),
        (None, AWAY, "may be the real site's"),
        ("mysql://me@127.0.0.1/shop", "", "must begin with"),
        ("postgresql://127.0.0.1/shop", "", "must name a user"),
    ],
)
def test_database_that_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, file: str, words: str
) -> None:
    """With a sentence; the real site's is never touched unasked."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"USHER_DATABASE_URL={file}\n")
    with pytest.raises(Exception, match=words):
        database.choose(named)


def test_functions_are_built_where_something_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy, another build, or a function that is gone; otherwise they stay."""
    monkeypatch.chdir(tmp_path)
    policy = tmp_path / "policy.toml"
    policy.write_text('[admission]\ndefault = "allow"\n')
    builds = []

    def build(site: Path, _settings: Mapping[str, str], _say: object) -> None:
        builds.append(policy.read_text())
        (site / BUILT).mkdir(parents=True, exist_ok=True)
        (site / BUILT / "build.json").write_text(str(len(builds)))
        (site / "netlify" / "functions").mkdir(exist_ok=True)
        for name in ("api", "identity"):
            (site / "netlify" / "functions" / f"{name}.mjs").touch()

    monkeypatch.setattr(bundle, "build", build)
    monkeypatch.setattr(bundle, "fetch_wheels", list)
    assert bundle.brought_up(tmp_path, {})
    assert not bundle.brought_up(tmp_path, {})
    policy.write_text('[admission]\ndefault = "deny"\n')
    assert bundle.brought_up(tmp_path, {})
    (tmp_path / BUILT / "build.json").write_text("of another build")
    assert bundle.brought_up(tmp_path, {})
    (tmp_path / "netlify" / "functions" / "api.mjs").unlink()
    assert bundle.brought_up(tmp_path, {})
    policy.write_text("[admission")
    with pytest.raises(PolicyError):
        bundle.brought_up(tmp_path, {})
    assert len(builds) == 4
