"""The units of systemd: read by systemd's own tool, hardened, and true to what the server does."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, clean_environment
from usher.server.serve import CONNECTIONS, OTHER_FILES, STOP_SECONDS

DEPLOY = ROOT / "deploy"
PROGRAM = "/opt/usher/.venv/bin/usher"
UNITS = ("usher.service", "usher@.service")


def unit(name: str = "usher.service") -> str:
    """The text of one."""
    return (DEPLOY / name).read_text(encoding="utf-8")


def values(key: str) -> list[str]:
    """Of each line with this key."""
    return re.findall(rf"^{key}=(.*)$", unit(), re.MULTILINE)


def analyzed(folder: Path, verb: str, name: str, text: str, *options: str) -> tuple[int, str]:
    """The exit code and words of systemd-analyze; the program exists, wherever the tests run."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not on the PATH (Debian's package systemd)")
    path = folder / name.replace("@", "@8881")
    path.write_text(text.replace(PROGRAM, sys.executable), encoding="utf-8")
    command = ["systemd-analyze", verb, *options, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong(name: str, tmp_path: Path) -> None:
    """And finds a mistake where there is one."""
    options = ("--man=no", "--recursive-errors=no")
    assert analyzed(tmp_path, "verify", name, unit(name), *options) == (0, "")
    wrong = unit(name).replace("KillMode=mixed", "KillMode=gently")
    assert "kill mode" in analyzed(tmp_path, "verify", name, wrong, *options)[1]


def test_the_exposure_is_below_two(tmp_path: Path) -> None:
    """As systemd rates it, from 0 to 10; and above it without what makes the difference."""
    options = ("--offline=true", "--threshold=19")
    assert analyzed(tmp_path, "security", "usher.service", unit(), *options)[0] == 0
    looser = unit().replace("PrivateUsers=yes\n", "").replace("CapabilityBoundingSet=\n", "")
    assert analyzed(tmp_path, "security", "usher.service", looser, *options)[0] == 1


def test_the_two_units_differ_in_the_port_alone() -> None:
    """What is mended in one is mended in both; comments at the head aside."""
    one, several = (unit(name).partition("[Unit]")[2] for name in UNITS)
    assert one.replace("--port 8888", "--port %i") == several


def test_data_is_its_own_users_alone() -> None:
    """The state has mode 0700, new files 0600, and the sample's settings put all data there."""
    assert values("StateDirectory") == ["usher"]
    assert values("StateDirectoryMode") == ["0700"]
    assert values("UMask") == ["0077"]
    sample = dict(re.findall(r"^(USHER_\w+)=(.*)$", unit("usher.env"), re.MULTILINE))
    assert sample["USHER_DATABASE_URL"].startswith("sqlite:////var/lib/usher/")
    assert sample["USHER_SPOOL"].startswith("/var/lib/usher/")
    [user] = values("User")
    assert re.search(rf"^u {user} ", unit("usher.sysusers"), re.MULTILINE)


def test_the_server_has_the_time_and_the_files_that_it_needs() -> None:
    """Requests under way are finished; with fewer files it would take fewer connections."""
    assert int(*values("TimeoutStopSec")) > STOP_SECONDS
    assert int(*values("LimitNOFILE")) >= CONNECTIONS + OTHER_FILES


def test_a_start_that_fails_is_tried_again_for_ever(tmp_path: Path, empty_postgresql: str) -> None:
    """A database that nobody has migrated ends it with 1, and 2, a wrong option, is for good."""
    assert values("StartLimitIntervalSec") == ["0"]
    assert values("Restart") == ["always"]
    assert values("RestartPreventExitStatus") == ["2"]
    environment = clean_environment(
        USHER_WEBHOOK_SECRETS="s" * 32, USHER_DATABASE_URL=empty_postgresql
    )

    def ends(*options: str) -> int:
        command = [sys.executable, "-m", "usher.cli", "serve", *options]
        done = subprocess.run(
            command, check=False, cwd=tmp_path, env=environment, capture_output=True, timeout=60
        )
        return done.returncode

    assert ends() == 1
    assert ends("--port", "none") == 2
