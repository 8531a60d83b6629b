"""The spool: records kept on disk while the database is away. Append-only files; no SQL.

Each process writes its own files and holds a lock on them as long as it lives. The files of a dead
process are adopted by another. A file is removed once all its records are in the database.

A line is a checksum (CRC-32, eight hex digits), a space, and one record as JSON. A line torn by a
crash was never acknowledged and is skipped.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock, get_ident
from typing import Final
from zlib import crc32

from usher.core.errors import SpoolError
from usher.core.folders import sync_folder
from usher.core.log import get_logger

SUFFIX: Final = ".spool"
DEAD_LETTERS: Final = "dead-letters.records"
"""File of the dead letters; renamed to end in ``.spool``, it is tried again."""
MAX_FILE_BYTES: Final = 16 * 1024 * 1024
_CHECKSUM: Final = 8


@dataclass(slots=True)
class SpoolFile:
    """One file of this process. ``size``: bytes up to which its records are known to be good."""

    path: Path
    descriptor: int
    size: int = field(default=0)


class Spool:
    """The spool files of one process in one folder.

    Args:
        folder: made with the first record; readable by its owner alone.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: list[SpoolFile] = []  # the oldest first; only the last one is written to
        self._open = False
        # Names are the order of adoption. A process's own files keep their order by the number at
        # the end, whatever the clock does.
        self._name = f"{time.time_ns():020d}-{os.getpid()}"
        self._made = 0
        self._lock = RLock()

    def __bool__(self) -> bool:
        """Whether this process has any file left."""
        return bool(self._files)

    def append(self, records: Sequence[bytes]) -> None:
        """Append records, all or none; they are on disk when this returns.

        Raises:
            SpoolError: the records could not be written and synced.
        """
        data = b"".join(map(_line, records))
        with self._lock:
            try:
                file = self._writable()
                try:
                    _write(file.descriptor, data)
                    os.fsync(file.descriptor)
                except OSError:
                    self._open = False  # after a failed sync the file's content is unknown
                    with suppress(OSError):
                        os.ftruncate(file.descriptor, file.size)
                        if not file.size:  # else each refusal would leave an open file behind
                            self.remove(file)
                    raise
                file.size += len(data)
            except OSError as error:
                raise SpoolError(
                    f"The spool {self.folder} cannot be written ({error.strerror}). Make room, or "
                    "set USHER_SPOOL to a folder on another disk."
                ) from error

    def adopt(self) -> bool:
        """Take over the files of processes that have ended; True where there were any."""
        with self._lock:
            ours = {file.path for file in self._files}
            found = sorted(set(self.folder.glob(f"*{SUFFIX}")) - ours)
            adopted = [file for file in map(_take, found) if file is not None]
            self._files = adopted + self._files
        if adopted:
            get_logger().warning("spool.adopted", files=len(adopted))
        return bool(adopted)

    def oldest(self) -> SpoolFile | None:
        """The file to read next, to which nothing is written any more; None where there is none."""
        with self._lock:
            if len(self._files) == 1:
                self._open = False
            return self._files[0] if self._files else None

    def remove(self, file: SpoolFile) -> None:
        """Remove a file whose records are all in the database.

        Raises:
            OSError: the file stays. Reading it again changes nothing.
        """
        with self._lock:
            file.path.unlink(missing_ok=True)
            os.close(file.descriptor)
            self._files.remove(file)

    def keep_dead_letters(self, records: Sequence[bytes]) -> None:
        """Keep records that the database refuses, for a person to look at.

        Raises:
            OSError: the file cannot be written.
        """
        path = self.folder / DEAD_LETTERS
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            _write(descriptor, b"".join(map(_line, records)))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """Write and sync a probe file in the folder.

        Raises:
            SpoolError: no record could be kept now.
        """
        probe = self.folder / f"probe-{os.getpid()}-{get_ident()}"
        try:
            _make(self.folder)
            with probe.open("wb") as file:
                file.write(b"\n" * 4096)
                file.flush()
                os.fsync(file.fileno())
            probe.unlink()
        except OSError as error:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
            raise SpoolError(
                f"{self.folder} cannot be written ({error.strerror}); events that come while the "
                "database is away are answered 503."
            ) from error

    def close(self) -> None:
        """Give the files up; they stay on disk for another process to adopt."""
        with self._lock:
            for file in self._files:
                os.close(file.descriptor)
            self._files, self._open = [], False

    def _writable(self) -> SpoolFile:
        if not self._open or self._files[-1].size >= MAX_FILE_BYTES:
            _make(self.folder)
            self._made += 1
            path = self.folder / f"{self._name}-{self._made:06d}{SUFFIX}"
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._files.append(SpoolFile(path, descriptor))
            self._open = True
            sync_folder(self.folder)
        return self._files[-1]


def read(file: SpoolFile) -> Iterator[bytes]:
    """The records of a file in order; damaged lines are skipped and logged."""
    with file.path.open("rb") as lines:
        position = 0
        for line in lines:
            position += len(line)
            if position > file.size:
                return  # never acknowledged
            payload = line[_CHECKSUM + 1 : -1]
            if line == _line(payload):
                yield payload
            elif line.endswith(b"\n"):
                get_logger().error("spool.damaged", file=file.path.name, position=position)
            else:
                get_logger().warning("spool.torn", file=file.path.name, position=position)


class Tally:
    """Counts of the records in a folder, of all processes.

    A spool file only grows until it is removed, so a repeated count reads only the new part.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._counted: dict[Path, tuple[int, int]] = {}
        """By file: bytes read, and the records in them."""

    def waiting(self) -> int:
        """The number of records that the database has not taken yet.

        Raises:
            OSError: the folder cannot be read.
        """
        found: dict[Path, tuple[int, int]] = {}
        for path in self._folder.glob(f"*{SUFFIX}"):
            with suppress(FileNotFoundError):  # applied meanwhile
                found[path] = _count(path, *self._counted.get(path, (0, 0)))
        self._counted = found
        return sum(records for _, records in found.values())

    def dead_letters(self) -> int:
        """The number of records that the database refused.

        Raises:
            OSError: the file cannot be read.
        """
        with suppress(FileNotFoundError):
            return _count(self._folder / DEAD_LETTERS, 0, 0)[1]
        return 0


def waiting(folder: Path) -> dict[str, int]:
    """Counts of a folder's records, of all processes: ``waiting`` and ``dead_letters``.

    Raises:
        OSError: the folder cannot be read.
    """
    tally = Tally(folder)
    return {"waiting": tally.waiting(), "dead_letters": tally.dead_letters()}


def _count(path: Path, position: int, records: int) -> tuple[int, int]:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size < position:  # truncated after a failed write
            position = records = 0
        file.seek(position)
        while piece := file.read(1 << 20):
            position += len(piece)
            records += piece.count(b"\n")
    return position, records


def _line(payload: bytes) -> bytes:
    return b"%08x %s\n" % (crc32(payload), payload)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _take(path: Path) -> SpoolFile | None:
    """The file, locked; None where a living process holds it, or where it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    except OSError:
        return None
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return SpoolFile(path, descriptor, os.fstat(descriptor).st_size)
    os.close(descriptor)
    return None


def _make(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(folder.parent)
