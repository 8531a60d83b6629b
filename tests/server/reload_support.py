"""What the tests of reloading share: two policies that differ in all that they say, and waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.support import WAIT_SECONDS
from usher.core.policy_file import parse_policy
from usher.core.server_folder import ServerFolder, State, running

COLOURS = ("red", "blue")


def policy_of(colour: str) -> str:
    """A policy whose refusals, roles and constants all name its colour."""
    return (
        f'[admission]\nmessage = "{colour}"\ndeny_email_domains = ["out.example"]\n\n'
        f'[[role]]\ngrant = "{colour}"\n\n[app_metadata]\nplan = "{colour}"\n'
    )


FINGERPRINTS = {colour: parse_policy(policy_of(colour)).fingerprint for colour in COLOURS}


def put(path: Path, text: str) -> None:
    """Write a policy as one should: beside it, then renamed."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition, for as long as a slow machine may need."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def folder_in(spool: Path) -> ServerFolder:
    """The folder of the one server that runs."""
    (found,) = running(spool)
    return found


def state_of(folder: ServerFolder) -> State:
    """What its workers decide by."""
    state = folder.state()
    assert state is not None
    return state


def all_decide_by(folder: ServerFolder, fingerprint: str, workers: int = 2) -> bool:
    """Whether all workers have taken a policy up."""
    found = folder.workers()
    return len(found) == workers and set(found.values()) == {fingerprint}
