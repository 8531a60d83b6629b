"""A share of the processor and a limit of memory, by the kernel's control groups (v1 and v2).

A group is made for one process below the group that this one is in, and removed after it. Where
that is not allowed, ``Group.missing`` says what is not limited, and the process runs all the same.
"""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

PERIOD_US = 20_000
"""A process that has used up its share waits for the rest of so long a time."""
REMOVE_SECONDS = 5
_NUMBERS = count()
_PEAKS = {"memory.max_usage_in_bytes": "v1", "memory.peak": "v2"}


@dataclass(frozen=True, slots=True)
class Share:
    """What a function may use; None is everything."""

    name: str
    cpus: float | None = None
    memory_mib: int | None = None


EVERYTHING = Share("unlimited")
SHARES = (EVERYTHING, Share("1024 MB", 0.58, 1024), Share("2048 MB", 1.16, 2048))
"""Netlify's default and twice as much, with the processor that AWS gives with each."""


@dataclass(slots=True)
class Group:
    """A running share.

    Attributes:
        folders: of the control groups; a process enters each of them.
        missing: what could not be limited, and why.
    """

    folders: list[Path] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def within(self, command: Sequence[str]) -> list[str]:
        """The command, entering the group before it begins."""
        enter = [f"echo $$ > {shlex.quote(str(each / 'cgroup.procs'))}" for each in self.folders]
        return ["/bin/sh", "-c", " && ".join([*enter, 'exec "$@"']), "sh", *command]

    def peak_mib(self) -> float | None:
        """The most memory that its processes held at once, with the files read for them."""
        for folder in self.folders:
            for name in _PEAKS:
                if (folder / name).exists():
                    return int((folder / name).read_text()) / 2**20
        return None


def hierarchies(mounts: str, own: str) -> dict[str, Path]:
    """The groups below which others may be made, by controller; ``unified`` is v2's.

    Args:
        mounts: ``/proc/self/mountinfo``.
        own: ``/proc/self/cgroup``. With v2 a group that holds processes cannot have groups with
            limits below it, except the first; so there the first is taken.
    """
    paths = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update({each: path.lstrip("/") for each in controllers.split(",") if each})
    found = {}
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        place = Path(fields.split(" ")[4])
        if kind == "cgroup2":
            found["unified"] = place
        if kind == "cgroup":
            for name in ("cpu", "memory"):
                if name in options.split(","):
                    below = place / paths.get(name, "")
                    found[name] = below if below.is_dir() else place
    return found


def limits(share: Share, version: str) -> dict[str, dict[str, str]]:
    """The files to be written, with their content, by controller and in this order."""
    cpu, memory = {}, {}
    if share.cpus is not None:
        quota = str(int(share.cpus * PERIOD_US))
        if version == "v1":
            cpu = {"cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": quota}
        else:
            cpu = {"cpu.max": f"{quota} {PERIOD_US}"}
    if share.memory_mib is not None:
        name = "memory.limit_in_bytes" if version == "v1" else "memory.max"
        memory = {name: str(share.memory_mib * 2**20)}
    return {"cpu": cpu, "memory": memory}


@contextmanager
def group(share: Share, places: dict[str, Path] | None = None) -> Iterator[Group]:
    """A new group with these limits; removed at the end, when its processes have ended.

    Args:
        places: ``hierarchies``, when not this process's own.
    """
    if places is None:
        proc = Path("/proc/self")
        places = hierarchies((proc / "mountinfo").read_text(), (proc / "cgroup").read_text())
    made, name = Group(), f"usher-bench-{os.getpid()}-{next(_NUMBERS)}"
    try:
        for controller, words in {"cpu": "the processor", "memory": "memory"}.items():
            try:
                folder = _make(controller, places, name, share)
            except OSError as error:
                made.missing.append(f"{words}: {error}")
            else:
                if folder not in made.folders:
                    made.folders.append(folder)
        yield made
    finally:
        for folder in made.folders:
            _remove(folder)


def _make(controller: str, places: dict[str, Path], name: str, share: Share) -> Path:
    version = "v1" if controller in places else "v2"
    parent = places.get(controller, places.get("unified"))
    if parent is None:
        raise OSError("this system has no control groups")
    if version == "v2":
        allowed = parent / "cgroup.subtree_control"
        if controller not in allowed.read_text().split():
            allowed.write_text(f"+{controller}")
    folder = parent / name
    folder.mkdir(exist_ok=True)
    for file, content in limits(share, version)[controller].items():
        (folder / file).write_text(content)
    return folder


def _remove(folder: Path) -> None:
    """A process that has just ended may still count for a moment."""
    until = time.monotonic() + REMOVE_SECONDS
    while True:
        try:
            return folder.rmdir()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.01)
