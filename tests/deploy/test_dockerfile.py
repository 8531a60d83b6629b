"""The Dockerfile, as far as it can be checked without a container engine; its commands are run."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import urllib3

from tests.support import ROOT, SECRET, free_port
from usher.core.settings import PREFIX

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
NOBODY = 10_001


class Instruction(NamedTuple):
    """One line of it: COPY, and what follows."""

    name: str
    value: str


def stages() -> list[list[Instruction]]:
    """The instructions of each stage, its FROM first; comments and continuations resolved."""
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text())
    found: list[list[Instruction]] = []
    for line in text.splitlines():
        if line.strip() and not line.startswith(("#", "ARG")):
            name, _, value = line.strip().partition(" ")
            if name == "FROM":
                found.append([])
            found[-1].append(Instruction(name, value.strip()))
    return found


def test_hadolint_finds_nothing() -> None:
    """Without an exception."""
    hadolint = Path(sys.executable).with_name("hadolint")
    command = [str(hadolint), str(DOCKERFILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def values(stage: list[Instruction], name: str) -> list[str]:
    """Of every instruction of this name."""
    return [each.value for each in stage if each.name == name]


def copied() -> Iterator[tuple[str, str]]:
    """Source and target of what is copied out of the repository."""
    for value in values(stages()[0], "COPY"):
        source, target = value.split()
        yield source, target


def variables() -> dict[str, str]:
    """The environment of the image."""
    [line] = values(stages()[-1], "ENV")
    return dict(part.split("=", 1) for part in shlex.split(line))


def test_what_is_copied_is_there_and_let_in() -> None:
    """.dockerignore shuts out everything but what it names; it names no more than is copied."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line]
    allowed = {line[1:] for line in rules if line.startswith("!")}
    assert rules[1] == "*"
    assert {source for source, _ in copied()} == allowed
    assert all((ROOT / source).exists() for source in allowed)
    assert not any(fnmatch(".env", rule) for rule in allowed)


def test_the_last_stage_copies_from_the_first_alone() -> None:
    """No compiler's leavings, no pip cache, nothing of the repository directly."""
    first, last = stages()
    assert first[0].value.endswith(" AS build")
    assert all(value.startswith("--from=build ") for value in values(last, "COPY"))
    assert values(last, "RUN") == []


def test_packages_are_pinned_with_their_hashes() -> None:
    """The lock of the image pins what the lock of the tests pins."""
    [install] = [run for run in values(stages()[0], "RUN") if "install" in run]
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(shlex.split(install))
    pins = re.compile(r"^([a-z0-9-]+==[^ ;]+)", re.MULTILINE)
    tested = set(pins.findall((ROOT / "requirements.lock").read_text()))
    for lock in ("deploy/requirements.lock", "deploy/lambda/requirements.lock"):
        found = set(pins.findall((ROOT / lock).read_text()))
        assert found
        assert found <= tested


def test_it_holds_no_secret_and_runs_as_nobody_in_particular() -> None:
    """Settings that are no secret are real ones."""
    [user] = values(stages()[-1], "USER")
    assert user == f"{NOBODY}:{NOBODY}"
    ours = {name for name in variables() if name.startswith(PREFIX)}
    assert ours == {"USHER_DATABASE_URL", "USHER_SPOOL"}


@contextmanager
def image() -> Iterator[Path]:
    """The tree that COPY makes, read-only, where whoever runs it can reach it."""
    # Not tmp_path: pytest's folders are closed to others.
    root = Path(tempfile.mkdtemp(prefix="usher-image-"))
    try:
        root.chmod(0o755)
        for source, target in copied():
            place = root / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / source).is_dir():
                shutil.copytree(
                    ROOT / source,
                    place,
                    symlinks=True,
                    ignore=shutil.ignore_patterns("__pycache__", "node_modules"),
                )
            else:
                shutil.copy(ROOT / source, place)
        for path in root.rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)
        (root / "data").mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(root / "data", NOBODY, NOBODY)
        yield root
    finally:
        shutil.rmtree(root)


def as_nobody() -> list[str]:
    """What stands in front of a command to run it without any right but to read.

    This Python may lie in a folder that is closed to others, which an image's does not.
    """
    if os.geteuid() != 0:
        return []  # nobody in particular already
    setpriv = shutil.which("setpriv")
    if not setpriv:
        pytest.skip("as root this needs setpriv (util-linux)")
    only_read = "-all,+dac_read_search"
    who = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    return [setpriv, *who, f"--inh-caps={only_read}", f"--ambient-caps={only_read}"]


def test_its_commands_run_as_nobody_on_a_read_only_tree() -> None:
    """ENTRYPOINT and CMD start the server, HEALTHCHECK finds it well, SIGTERM ends it with 0."""
    nobody = as_nobody()
    last = stages()[-1]
    port = str(free_port())
    command = [*json.loads(*values(last, "ENTRYPOINT")), *json.loads(*values(last, "CMD"))]
    command = [sys.executable, *[port if part == "8888" else part for part in command[1:]]]
    command = ["127.0.0.1" if part == "0.0.0.0" else part for part in command]
    health = values(last, "HEALTHCHECK")[0].partition("CMD ")[2].replace(":8888", f":{port}")
    with image() as root:
        environment = {
            **variables(),  # and no HOME
            "USHER_WEBHOOK_SECRETS": SECRET.decode(),
            "USHER_DATABASE_URL": f"sqlite:///{root}/data/usher.db",
            "USHER_SPOOL": f"{root}/data/spool",
        }
        how: dict[str, Any] = {"cwd": root / "app", "env": environment}
        server = subprocess.Popen([*nobody, *command], **how, stderr=subprocess.PIPE)
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz")
            check = [*nobody, sys.executable, *json.loads(health)[1:]]
            assert subprocess.run(check, **how, check=False).returncode == 0
            server.terminate()
            assert server.wait(20) == 0
            assert subprocess.run(check, **how, check=False, stderr=-3).returncode != 0
        finally:
            server.kill()
            server.communicate()
        written = {path.name for path in (root / "data").iterdir()}
        assert "usher.db" in written
        assert not list((root / "app").rglob("__pycache__"))


def wait_for(url: str) -> None:
    """Until a server is ready."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if urllib3.request("GET", url, retries=False, timeout=1).status == 200:
                return
        except urllib3.exceptions.HTTPError:
            time.sleep(0.05)
    raise AssertionError(f"nothing answers at {url}")
