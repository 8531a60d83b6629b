"""``usher`` as somebody at a terminal meets it: real processes, a real server, real files."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import urllib3

from tests.cli.conftest import Process
from tests.support import ROOT, SECRET, WAIT_SECONDS, Server, clean_environment, free_port

SECRETS = {"USHER_WEBHOOK_SECRETS": SECRET.decode()}


def test_from_a_signup_to_its_explanation(
    sqlite_url: str,
    policy_file: Path,
    start_server: Callable[..., Server],
    process: Process,
) -> None:
    """Serve, trigger, and read back who came, with which roles, and by which rules."""
    server = start_server(sqlite_url)
    settings = SECRETS | {"USHER_DATABASE_URL": sqlite_url, "USHER_POLICY": str(policy_file)}

    def usher(*arguments: str, code: int = 0) -> str:
        done = process(*arguments, **settings)
        assert done.returncode == code, done.stderr
        return done.stdout

    hook = f"{server.url}/.netlify/functions/identity-signup"
    sent = usher("trigger", "signup", "--email", "ada@example.com", "--name", "Ada", "--url", hook)
    assert "attempt 1: 200" in sent
    assert '"roles":["member","staff"]' in sent
    user_id = sent.rsplit("usher users show ", 1)[1].strip()

    listed = usher("users", "list")
    assert user_id in listed
    assert "ada@example.com" in listed
    assert "member, staff" in listed

    shown = usher("users", "show", "Ada@EXAMPLE.com")
    assert f"id         {user_id}\n" in shown
    assert "status     active\n" in shown
    assert "roles      member, staff\n" in shown

    denied = usher("trigger", "signup", "--email", "x@mailinator.com", "--url", hook, code=1)
    assert denied.count(": 403") == 3
    assert "Please use an address that lasts." in denied
    assert "Refused: Identity would answer the person's signup with 422." in denied
    assert "mailinator" not in usher("users", "list")

    events = json.loads(usher("events", "list", "--json"))["events"]
    assert [event["outcome"] for event in events] == ["denied", "applied"]
    why = usher("events", "show", events[1]["id"][:20])
    assert "role.1" in why
    assert "grants 'member' to everybody" in why
    assert "role.2" in why
    assert "grants 'staff' to everybody whose proven address is at example.com" in why
    why = usher("events", "show", events[0]["id"])
    assert "admission.deny_email_domains" in why
    assert "the domain mailinator.com is on the deny list" in why


def test_the_first_command_on_a_new_file_prints_nothing_but_its_answer(
    tmp_path: Path, process: Process
) -> None:
    """The database is made on the way; standard output stays JSON."""
    done = process("users", "list", "--json", **SECRETS)
    assert (tmp_path / "usher.db").exists()
    assert json.loads(done.stdout) == {"users": [], "next_cursor": None}
    assert done.returncode == 0


def test_no_server_is_said_in_a_sentence(process: Process) -> None:
    """One attempt, as Identity makes; exit code 1."""
    url = f"http://127.0.0.1:{free_port()}/.netlify/functions/identity-login"
    done = process("trigger", "login", "--url", url, **SECRETS)
    assert done.returncode == 1
    assert f"attempt 1: nothing answers at {url}; is the server running (make run)?" in done.stdout
    assert "attempt 2" not in done.stdout
    assert "Not delivered" in done.stdout


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "USHER_WEBHOOK_SECRETS is not set"),
        ({"USHER_WEBHOOK_SECRETS": ""}, "USHER_WEBHOOK_SECRETS is empty"),
        ({"USHER_WEBHOOK_SECRETS": "short"}, "USHER_WEBHOOK_SECRETS holds a secret of 5 bytes"),
    ],
    ids=["unset", "empty", "short"],
)
def test_without_a_good_secret_the_server_does_not_start(
    process: Process, tmp_path: Path, variables: dict[str, str], said: str
) -> None:
    """A sentence that says how to make one, exit code 1, and nothing was touched."""
    done = process("serve", "--port", str(free_port()), **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "usher secret" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_broken_policy_stops_the_server_before_it_listens(
    process: Process, tmp_path: Path
) -> None:
    """Better at the start than at somebody's login."""
    (tmp_path / "policy.toml").write_text("[admision]")
    done = process("serve", "--port", str(free_port()), **SECRETS)
    assert done.returncode == 1
    assert "policy.toml: unknown key 'admision'" in done.stderr


def test_a_failing_test_of_the_policy_is_a_warning_at_the_start(
    start_server: Callable[..., Server], sqlite_url: str, policy_file: Path
) -> None:
    """The server runs; the log tells which test it is, and no address."""
    policy_file.write_text('[[test]]\nwho = "canary@example.com"\nexpect = "refused"\n')
    server = start_server(sqlite_url)
    (line,) = [
        each for each in server.log.read_text().splitlines() if "policy.tests_failed" in each
    ]
    assert '"failed":[1],"tests":1' in line.replace(", ", ",").replace(": ", ":")
    assert "canary" not in line


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def test_a_port_in_use_is_said_in_a_sentence(process: Process, taken_port: int) -> None:
    """The commonest mishap of all; no traceback, exit code 1."""
    done = process("serve", "--port", str(taken_port), **SECRETS)
    assert done.returncode == 1
    assert str(taken_port) in done.stderr


def test_an_address_that_is_none_is_said_in_a_sentence(process: Process) -> None:
    """--host takes an address of this machine."""
    done = process("serve", "--host", "nowhere.invalid", "--port", str(free_port()), **SECRETS)
    assert done.returncode in (1, 2)
    assert "nowhere.invalid" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("users", "show", b"\xff"), ("trigger", "signup", "--email", b"\xff", "--url", "http://h:0")],
    ids=["users show", "trigger"],
)
def test_arguments_that_are_no_text_are_no_traceback(
    process: Process, arguments: tuple[str | bytes, ...]
) -> None:
    """Bytes that are not UTF-8 fail like anything else that is not there."""
    assert process(*arguments, **SECRETS).returncode in (1, 2)


def test_the_installed_command_finds_a_policy_beside_it(tmp_path: Path) -> None:
    """``module:function`` is looked for in the working directory, as `usher serve` does."""
    (tmp_path / "house_rules.py").write_text(
        "from usher.core.domain.policy import Verdict\n\n"
        "def decide(applicant):\n    return Verdict()\n"
    )
    done = subprocess.run(
        [Path(sys.executable).parent / "usher", "policy", "check"],
        cwd=tmp_path,
        env=clean_environment(USHER_POLICY="house_rules:decide"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_dev_makes_what_it_needs_serves_and_stops(tmp_path: Path, process: Process) -> None:
    """From nothing to a running server, to a signup with its secret, to a clean end."""
    port = free_port()
    with (tmp_path / "dev.log").open("w+") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "usher.cli", "dev", "--port", str(port)],
            cwd=tmp_path,
            env=clean_environment(PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1"),
            stdout=log,
            stderr=log,
        )
        try:
            _wait_for(f"http://127.0.0.1:{port}/healthz", running)
            hook = f"http://127.0.0.1:{port}/.netlify/functions/identity-signup"
            sent = process("trigger", "signup", "--url", hook)
            assert sent.returncode == 0, sent.stdout
            assert "ada@example.com" in process("users", "list").stdout
        finally:
            running.send_signal(signal.SIGTERM)
            code = running.wait(30)
        log.seek(0)
        printed = log.read()
    assert code == 0
    assert f"Usher listens at http://127.0.0.1:{port}" in printed
    assert "Traceback" not in printed
    assert (tmp_path / ".usher" / "dev.env").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".usher" / "usher.db").exists()


def _wait_for(url: str, running: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    with urllib3.PoolManager(retries=False) as pool:
        while time.monotonic() < deadline and running.poll() is None:
            try:
                if pool.request("GET", url, timeout=5).status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
    raise AssertionError("the server did not start")
