"""The bundle of a small site, built once for all processes that run the tests."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import POLICY
from tests.netlify.functions import Functions, functions
from tests.netlify_site import NPM_PATH
from tests.support import ROOT, clean_environment
from usher.core.settings import Settings

BUILD_SECONDS = 280
INPUTS = ("core", "functions", "server", "netlify", "usher", "migrations")
KEPT = 3


def run_build(site: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``usher netlify build`` in a site's folder, with the wheel's Node and npm."""
    home = {"HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        [sys.executable, "-m", "usher.cli", "netlify", "build", *arguments],
        check=False,
        cwd=site,
        env=clean_environment(PATH=NPM_PATH, PYTHONPATH=str(ROOT), **home, **variables),
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )


HOOKS = """
import os
import random

from usher import after
from usher.core.domain.policy import Verdict

if os.environ.get("USHER_DOOR_LIMIT") == "break":  # a test asks for it
    os._exit(1)

@after("user.created")
def greet(change):
    pass

@after("user.reactivated", seconds=0.5)
def turn_for_ever(change):
    class Hidden:
        def __del__(self):
            while True:  # what is raised here is swallowed
                pass

    Hidden()
    while True:
        pass

def friends(applicant):
    return Verdict(applicant.email == "friend@example.com", "Friends only.", {"friend"})

def decide(event, user, now):
    return {"allow": False, "message": f"drawn: {random.random()}"}
"""
VARIABLES = {"USHER_HANDLERS": "mysite.hooks"}


def chosen(variables: dict[str, str]) -> Settings:
    """The settings of a build."""
    return Settings.from_env(variables, verifies=False)


def make_site(folder: Path) -> Path:
    """A site with a policy, code of its own, and what is nobody's business."""
    (folder / "mysite").mkdir(parents=True)
    (folder / "policy.toml").write_text(POLICY)
    (folder / "mysite" / "__init__.py").touch()
    (folder / "mysite" / "hooks.py").write_text(HOOKS)
    (folder / ".env").write_text("USHER_JWT_SECRET=a-secret-that-is-not-for-the-bundle\n")
    return folder


def fingerprint() -> str:
    """A digest of all that the bundle is made of."""
    digest = hashlib.sha256((POLICY + HOOKS).encode())
    for top in INPUTS:
        for path in sorted((ROOT / top).rglob("*")):
            if path.is_file() and not {"__pycache__", "node_modules"} & set(path.parts):
                digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def site(pytestconfig: pytest.Config) -> Path:
    """The site after its build; kept below .pytest_cache until something changes."""
    folder = pytestconfig.cache.mkdir("netlify") if pytestconfig.cache else None
    assert folder is not None
    built = folder / fingerprint()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (built / "done").exists():
            shutil.rmtree(built, ignore_errors=True)
            done = run_build(make_site(built), **VARIABLES)
            assert done.returncode == 0, done.stderr
            (built / "done").touch()
            kept = sorted(folder.glob("*/done"), key=lambda path: path.stat().st_mtime)
            for old in kept[:-KEPT]:
                shutil.rmtree(old.parent)
    return built


@pytest.fixture(scope="module")
def running(site: Path) -> Iterator[Functions]:
    """The site's functions, with a database where nothing listens."""
    with functions(site) as running:
        yield running
