"""The next policy: read and checked beside the one in force, and moved into place.

A file that was cut off, emptied or lost may be left as a policy that admits everybody. As a first
policy that is allowed; in the place of another it is refused. A server that reads its files again
also takes them only as they stay, and not where their end is missing.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from tempfile import mkstemp
from time import sleep
from typing import Any, Final

from usher.core.domain.policy_tests import run_tests
from usher.core.domain.rules import FilePolicy
from usher.core.errors import PolicyError
from usher.core.folders import sync_folder
from usher.core.policy_lists import BOM, Content, read_file
from usher.core.policy_source import load_file, text_of

BEFORE: Final = ".before"
"""The end of the name of the policy's file that was in place before the last promotion."""
SETTLE_SECONDS: Final = 0.2
"""Pause between two readings of a changed file, which have to agree."""
READINGS: Final = 10
ON_PURPOSE: Final = "was it cut off? If it is meant: usher policy promote FILE"


class Files(dict[str, Content]):
    """The files that a policy is made of, by path, as they were read."""

    def read(self, path: Path) -> Content:
        """Read a file, and keep what it holds. A pipe would be waited for until somebody writes."""
        if path.exists() and not path.is_file():
            raise OSError(f"{path} is no regular file")
        content = self[str(path)] = read_file(path)
        return content

    def kept(self, path: Path) -> Content:
        """A file as it was read."""
        try:
            return self[str(path)]
        except KeyError:
            raise FileNotFoundError(str(path)) from None


class _Settled(Files):
    """Files of which each that differs from the one in force is read until it stays the same."""

    def __init__(self, in_force: Mapping[str, Content]) -> None:
        super().__init__()
        self._in_force = in_force

    def read(self, path: Path) -> Content:
        """Read a file, as ``Files.read``; one that is being written is no file yet."""
        before = self._in_force.get(str(path))
        for _ in range(READINGS):
            content = super().read(path)
            if before is not None and content.data == before.data:
                return content
            before = content
            sleep(SETTLE_SECONDS)
        raise OSError(f"{path.name} is being written just now; reload again afterwards")


def from_files(source: str, files: Mapping[str, Content]) -> FilePolicy:
    """The policy that the files made when they were read, whatever they hold by now."""
    return load_file(source, Files(files).kept)


def read_next(
    source: str,
    before: str,
    now: datetime,
    main: Path | None = None,
    files: Files | None = None,
) -> tuple[FilePolicy, Files]:
    """Read the policy that is to take the place of another, and check it.

    Args:
        source: the policy's file.
        before: fingerprint of the policy in force.
        now: the time of events of which the policy's own tests say none, UTC.
        main: another file that shall be moved there; None: the file itself.
        files: reads them, and keeps what they hold; None: as they are at the moment.

    Raises:
        PolicyError: it must not come into force; the sentence says what to mend.
    """
    path = Path(source)
    files = Files() if files is None else files
    if main is not None and not main.is_file():
        raise PolicyError(str(main), "there is no such file")

    def read(wanted: Path) -> Content:
        return files.read(main if main is not None and wanted == path else wanted)

    name = (main or path).name
    policy = load_file(source, read, name)
    if policy.fingerprint == before:
        return policy, files
    if not files:
        raise PolicyError(source, "there is no such file any more")
    _require_whole(name, text_of(files[str(main or path)]))
    failed = [result for result in run_tests(policy, now) if not result.passed]
    if failed:
        more = f" ({len(failed) - 1} more fail)" if len(failed) > 1 else ""
        raise PolicyError(name, f"{failed[0].sentence.rstrip('.')}{more}")
    return policy, files


def read_again(
    source: str,
    before: str,
    now: datetime,
    in_force: Mapping[str, Content],
    promoted: Collection[str] = (),
) -> tuple[FilePolicy, Files]:
    """Read the files of a running server again, and check them, as ``read_next``.

    A changed file is read until it stays the same. Where the end of one is missing, it is refused.

    Args:
        in_force: the files of the policy in force.
        promoted: fingerprints of policies that somebody means as they are, even if shorter.

    Raises:
        PolicyError: as ``read_next``.
    """
    policy, files = read_next(source, before, now, files=_Settled(in_force))
    if policy.fingerprint not in promoted:
        for path, content in files.items():
            if (old := in_force.get(path)) is not None:
                _require_end(Path(path).name, _bytes(old), _bytes(content))
        _require_tests(source, in_force, policy)
    return policy, files


def _bytes(content: Content) -> bytes:
    """The content of a file, however its lines end."""
    data = content.data.removeprefix(BOM.encode())
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _require_end(name: str, old: bytes, new: bytes) -> None:
    """Refuse a file whose end is missing, beside the same file as it was before."""
    if new != old and old.startswith(new):
        raise PolicyError(name, f"is no more than the beginning of the one in force; {ON_PURPOSE}")
    if old.endswith(b"\n") and not new.endswith(b"\n"):
        raise PolicyError(name, f"ends within a line; {ON_PURPOSE}")


def _require_tests(source: str, in_force: Mapping[str, Content], policy: FilePolicy) -> None:
    """Refuse a policy with fewer tests: those at the end vanish with whatever was cut off."""
    path = Path(source)
    if (main := in_force.get(str(path))) is None:
        return
    count = len(_document(text_of(main)).get("test", []))
    if len(policy.tests) < count:
        problem = f"has {len(policy.tests)} tests, and the one in force {count}"
        raise PolicyError(path.name, f"{problem}; {ON_PURPOSE}")


def _document(text: str) -> dict[str, Any]:
    return tomllib.loads(text.removeprefix(BOM))


def _require_whole(name: str, text: str) -> None:
    """Refuse a file of which nothing is left, or of whose last table."""
    tables = list(_document(text).values())
    if not tables:
        problem = "holds no table"
    elif tables[-1] == {}:
        problem = "ends where its last table begins"
    else:
        return
    raise PolicyError(name, f"{problem}; was it cut off, or is it being written just now?")


def promote(source: Path, file: Path) -> None:
    """Move a checked file to the place of the policy's file, which is kept beside it.

    At no time is there no policy, or half of one. Of a link the file that it names is taken: moved,
    it could name nothing.

    Raises:
        OSError
    """
    if source.exists():
        _copy(source, _former(source))
    if not file.is_symlink() and _same_disk(file, source.parent):
        file.replace(source)
    else:
        _copy(file, source)
        file.unlink()
    sync_folder(source.parent)


def undo(source: Path) -> None:
    """Exchange the policy's file and the one before it; once more undoes that, too.

    Raises:
        OSError
    """
    former = _former(source)
    kept = _copied(source) if source.exists() else None
    former.replace(source)
    if kept is not None:
        kept.replace(former)
    sync_folder(source.parent)


def former(source: Path) -> Path:
    """The policy's file that was in place before the last promotion.

    Raises:
        PolicyError: there is none.
    """
    found = _former(source)
    if not found.is_file():
        raise PolicyError(found.name, "there is no such file, so there is nothing to go back to")
    return found


def _same_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def _former(source: Path) -> Path:
    return source.with_name(source.name + BEFORE)


def _copy(file: Path, to: Path) -> None:
    _copied(file, to.parent).replace(to)


def _copied(file: Path, folder: Path | None = None) -> Path:
    """A synced copy under a name of its own, with the same rights."""
    descriptor, name = mkstemp(prefix=f".{file.name}-", dir=folder or file.parent)
    try:
        with os.fdopen(descriptor, "wb") as copy:
            copy.write(file.read_bytes())
            copy.flush()
            os.fchmod(copy.fileno(), file.stat().st_mode & 0o777)
            os.fsync(copy.fileno())
    except OSError:
        Path(name).unlink()
        raise
    return Path(name)
