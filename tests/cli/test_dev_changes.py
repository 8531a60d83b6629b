"""``usher dev`` as a real process while its files change, and beside another one."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

from tests.support import ROOT, clean_environment, free_port

COMMAND = [sys.executable, "-m", "cli", "dev"]


class Dev:
    """A running command, in a folder of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--port", str(self.port), *options],
                cwd=folder,
                env=clean_environment(PYTHONPATH=str(ROOT), PYTHONUNBUFFERED="1"),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def says(self, text: str, times: int = 1) -> None:
        """Wait until it was printed so often."""
        deadline = time.monotonic() + 60
        while self.log.read_text().count(text) < times:
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"not said: {text!r}\n{self.log.read_text()[-1500:]}", pytrace=False)
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether somebody is behind the port."""
        try:
            url = f"http://127.0.0.1:{self.port}/healthz"
            return urllib3.request("GET", url, retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False


@pytest.fixture
def dev(tmp_path: Path, policy_file: Path) -> Iterator[Dev]:
    """One that listens."""
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(policy_file, folder / "policy.toml")
    running = Dev(folder, "--seed", "21")
    running.says("A change of the code")
    yield running
    running.process.terminate()
    running.process.wait(30)


def test_it_waits_for_a_broken_file_to_be_mended(dev: Dev) -> None:
    """The file is named, the fault is told once, and the mended one is served."""
    policy = dev.folder / "policy.toml"
    good = policy.read_text()
    policy.write_text("[[role]\n")
    dev.says("Usher does not run. Mend that and save")
    assert not dev.answers()
    assert "policy.toml" in dev.log.read_text().rpartition("Usher does not run")[0]
    policy.write_text(good)
    dev.says("policy.toml changed: ready in")
    assert dev.answers()
    (dev.folder / ".env").write_text("USHER_WEBHOOK_SECRETS=short\n")
    dev.says("Usher does not run", times=2)
    assert "Make one with: usher secret" in dev.log.read_text()
    (dev.folder / ".env").unlink()
    dev.says(".env changed: ready in")
    assert dev.log.read_text().count("Usher does not run") == 2


def test_ctrl_c_ends_it_and_frees_the_port(dev: Dev) -> None:
    """In time, with 0, and nobody holds the port afterwards."""
    dev.process.send_signal(signal.SIGINT)
    assert dev.process.wait(20) == 0
    with socket.create_server(("127.0.0.1", dev.port)):
        pass


def test_its_server_does_not_outlive_it(dev: Dev) -> None:
    """Not even where it is killed."""
    dev.process.kill()
    dev.process.wait(10)
    deadline = time.monotonic() + 15
    while dev.answers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not dev.answers()


def test_a_second_one_is_told_why_not(dev: Dev, tmp_path: Path) -> None:
    """In the same folder, and on the same port from another."""
    environment = clean_environment(PYTHONPATH=str(ROOT))
    other = tmp_path / "other"
    other.mkdir()
    for folder, port, said in (
        (dev.folder, free_port(), f"runs in this folder: process {dev.process.pid}"),
        (other, dev.port, f"port {dev.port}: Address already in use. Take another --port."),
    ):
        command = [*COMMAND, "--port", str(port)]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr


def test_the_seed_is_told_and_not_sown_twice(dev: Dev) -> None:
    """Who became what; on a second start everybody is there already."""
    told = "18 active, 1 not confirmed yet, 1 invited, 1 refused by the policy."
    assert told in dev.log.read_text()
    assert "Sign in as owner@example.com with that password." in dev.log.read_text()
    dev.process.terminate()
    dev.process.wait(30)
    again = Dev(dev.folder, "--seed", "21")
    try:
        again.says("All 21 people of the seed are already here")
    finally:
        again.process.terminate()
        again.process.wait(30)
