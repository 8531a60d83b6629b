"""The folder that the processes of one server share: the policy in force, and requests to read it.

    alive        locked by the server as long as it runs
    asked        one line for each request to reload the policy: its actor
    turn         locked by the worker that answers a request
    policy.json  the ``State``
    worker-PID   locked by a worker; the fingerprint of the policy that it decides by
    auditing     locked by the worker that writes reloads to the audit
    ending       the server was told to end
    sinks        there is a sink, so changes are handed over
    change-N     a reload that the audit does not hold yet, by the request that it answers

Files reach workers however they were started, and outlive each of them: one that starts later finds
the policy that the others decide by.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from msgspec import DecodeError, Struct, json

from usher.core.errors import UsherError
from usher.core.policy_lists import Content

VARIABLE: Final = "FOLDER_OF_USHER_SERVE"
"""The variable by which workers know the folder; it is no setting."""
_PREFIX: Final = "server-"
_MADE: Final = ".made-"
_CHANGE: Final = "change-"
_WIDTH: Final = 64


class State(Struct, frozen=True):
    """The policy that the workers of a server decide by.

    Attributes:
        source: the value of ``USHER_POLICY``.
        path: absolute; of a callable its name.
        fingerprint: of the policy in force.
        since: when it came into force, UTC.
        files: what the files held that it is made of, by path; None: it is a callable.
        rejected: why the files of now are not in force; empty: nothing was refused since.
        rejected_at: when that was.
        answered: bytes of ``asked`` that were answered.
    """

    source: str
    path: str
    fingerprint: str
    since: datetime
    files: Mapping[str, Content] | None
    rejected: str = ""
    rejected_at: datetime | None = None
    answered: int = 0


class Change(Struct, frozen=True):
    """A reload, for the audit."""

    at: datetime
    actor: str
    before: str
    after: str


class ServerFolder:
    """The folder of one server."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._report: int | None = None

    # --- requests -----------------------------------------------------------------------------

    def ask(self, actor: str, promoted: str = "") -> int:
        """Ask the workers to read the policy again; ``answered`` is at least this much then.

        Args:
            promoted: fingerprint of a policy that was promoted; empty: none was.

        Raises:
            OSError: the folder belongs to another user, or its disk is full.
        """
        descriptor = os.open(self.path / "asked", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            line = f"{' '.join(actor.split())}\t{promoted}\n"
            os.write(descriptor, line.encode(errors="replace"))
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def asked(self) -> int:
        """The bytes of all requests up to now."""
        try:
            return (self.path / "asked").stat().st_size
        except FileNotFoundError:
            return 0

    def actor(self, asked: int) -> str:
        """The actor of the last of these requests."""
        lines = self._requests(0, asked)
        return lines[-1].partition("\t")[0] if lines else "usher"

    def promoted(self, answered: int, asked: int) -> set[str]:
        """The fingerprints of the policies that were promoted with the requests in between."""
        return {line.partition("\t")[2] for line in self._requests(answered, asked)} - {""}

    def _requests(self, start: int, end: int) -> list[str]:
        found = (self.path / "asked").read_bytes()[start:end].decode(errors="replace")
        return found.split("\n")[:-1]

    @contextmanager
    def turn(self, *, wait: bool = False) -> Iterator[bool]:
        """Hold the lock for one who answers; gives whether it was had.

        Args:
            wait: until it is had.
        """
        with (self.path / "turn").open("ab") as file:
            yield _lock(file.fileno(), wait=wait)

    # --- the end ------------------------------------------------------------------------------

    def end(self) -> None:
        """Tell the workers that the server was told to end."""
        with suppress(OSError):
            (self.path / "ending").touch()

    def ends(self) -> bool:
        """Whether the server was told to end."""
        return (self.path / "ending").exists()

    # --- sinks --------------------------------------------------------------------------------

    def see_sinks(self) -> None:
        """Tell the server that there is a sink.

        Raises:
            OSError: the disk is full.
        """
        (self.path / "sinks").touch()

    def has_sinks(self) -> bool:
        """Whether there was a sink since the server's start."""
        return (self.path / "sinks").exists()

    # --- the policy in force ------------------------------------------------------------------

    def state(self) -> State | None:
        """The policy that the workers decide by; None before the first of them has started.

        Raises:
            OSError: it cannot be read.
            UsherError: another version of Usher wrote it.
        """
        path = self.path / "policy.json"
        try:
            return json.decode(path.read_bytes(), type=State)
        except FileNotFoundError:
            return None
        except DecodeError:
            raise UsherError(f"{path} is another version's of Usher. Restart the server.") from None

    def version(self) -> tuple[int, int]:
        """Another value after each ``keep``."""
        with suppress(FileNotFoundError):
            found = (self.path / "policy.json").stat()
            return found.st_ino, found.st_mtime_ns
        return 0, 0

    def keep(self, state: State) -> None:
        """Keep the policy that the workers decide by; needs the turn.

        Raises:
            OSError: it stays as it was.
        """
        new = self.path / "policy.json.new"
        with open(new, "wb", opener=_private) as file:
            file.write(json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / "policy.json")

    # --- the workers --------------------------------------------------------------------------

    def report(self, fingerprint: str) -> None:
        """Tell which policy this worker decides by; on a full disk it cannot be told."""
        with suppress(OSError):
            if self._report is None:
                path = self.path / f"worker-{os.getpid()}"
                self._report = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
                _lock(self._report, wait=True)
            os.pwrite(self._report, f"{fingerprint:<{_WIDTH}}".encode(), 0)

    def close(self) -> None:
        """End this worker's report."""
        if self._report is not None:
            with suppress(OSError):
                (self.path / f"worker-{os.getpid()}").unlink(missing_ok=True)
            os.close(self._report)
            self._report = None

    def workers(self) -> dict[int, str]:
        """The fingerprint that each living worker decides by, by its process id."""
        found = {}
        for path in sorted(self.path.glob("worker-*")):
            with suppress(FileNotFoundError):
                if _held(path):
                    found[int(path.name.partition("-")[2])] = path.read_text().strip()
        return found

    # --- the audit ----------------------------------------------------------------------------

    def add_change(self, asked: int, change: Change) -> None:
        """Keep a reload until the audit has it; needs the turn, and comes before ``keep``.

        A worker that is killed between the two leaves the request to another one, whose change
        takes the place of this one.

        Raises:
            OSError
        """
        path = self.path / f"{_CHANGE}{asked:020d}"
        new = path.with_name(f".{path.name}")
        with open(new, "wb", opener=_private) as file:
            file.write(json.encode(change))
        new.replace(path)

    def has_changes(self) -> bool:
        """Whether the audit may lack a reload."""
        return any(self.path.glob(f"{_CHANGE}*"))

    @contextmanager
    def auditing(self) -> Iterator[bool]:
        """Hold the lock for one who writes to the audit; gives whether it was had."""
        with (self.path / "auditing").open("ab") as file:
            yield _lock(file.fileno())

    def changes(self, answered: int) -> Iterator[tuple[Path, Change]]:
        """The reloads that the audit does not hold yet, in order, up to an answered request."""
        for path in sorted(self.path.glob(f"{_CHANGE}*")):
            if int(path.name.split("-")[1]) <= answered:
                yield path, json.decode(path.read_bytes(), type=Change)


@contextmanager
def made_in(parent: Path) -> Iterator[ServerFolder]:
    """Make the folder of a server; it is removed at the end, and those of killed servers now.

    Raises:
        OSError: it cannot be made.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = Path(mkdtemp(prefix=_MADE, dir=parent))
    # Under its name it is locked from the first moment on, so nobody takes it for a dead one.
    alive = os.open(made / "alive", os.O_RDWR | os.O_CREAT, 0o600)
    _lock(alive, wait=True)
    path = made.rename(parent / made.name.replace(_MADE, _PREFIX, 1))
    try:
        for found in parent.glob(f"{_PREFIX}*"):
            if _is_dead(found):
                _bury(ServerFolder(found), path)
        yield ServerFolder(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(alive)


def server_ends() -> bool:
    """Whether the server of this worker was told to end."""
    folder = own_folder()
    return folder is not None and folder.ends()


def own_folder() -> ServerFolder | None:
    """The folder of the server that this process is a worker of; None: there is none."""
    path = os.environ.get(VARIABLE)
    return ServerFolder(Path(path)) if path else None


def running(parent: Path) -> list[ServerFolder]:
    """The folders of the servers that run now.

    Raises:
        UsherError: they belong to another user.
    """
    try:
        named = sorted(each for each in parent.iterdir() if each.name.startswith(_PREFIX))
        found = [each for each in named if _held(each / "alive")]
    except FileNotFoundError:
        return []
    except PermissionError as error:
        raise UsherError(
            f"{error.filename} belongs to another user. Run this as the user that runs the server."
        ) from None
    return [ServerFolder(each) for each in found]


def _held(path: Path) -> bool:
    """Whether a process holds the lock of a file; False where there is no such file."""
    try:
        with path.open("rb") as file:
            return not _lock(file.fileno(), shared=True)
    except FileNotFoundError:
        return False


def _is_dead(path: Path) -> bool:
    """Whether this is what a killed server left, and no folder of something else."""
    try:
        return (path / "alive").is_file() and not _held(path / "alive")
    except PermissionError:
        return False  # another user's


def _bury(dead: ServerFolder, path: Path) -> None:
    """Remove what a killed server left; what the audit still lacks is taken over."""
    with suppress(OSError, DecodeError, UsherError):  # of another user, or another version
        state = dead.state()
        for change, _ in dead.changes(state.answered if state else 0):
            change.rename(path / f"{_CHANGE}{0:020d}-{change.name}-{dead.path.name}")
    shutil.rmtree(dead.path, ignore_errors=True)


def _lock(descriptor: int, *, wait: bool = False, shared: bool = False) -> bool:
    import fcntl  # noqa: PLC0415 - not on Windows, where other commands still run

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
