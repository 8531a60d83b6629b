"""The folder that a server's processes share, where it is not as it should be."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest

from tests.server.reload_support import FINGERPRINTS, policy_of, put
from usher.core import log, policy_reload
from usher.core.app import App, use
from usher.core.errors import UsherError
from usher.core.server_folder import VARIABLE, Change, ServerFolder, made_in, running
from usher.core.settings import Settings
from usher.server import policy_follower
from usher.server.policy_follower import PolicyFollower

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[ServerFolder]:
    """The folder of a server that runs."""
    with made_in(tmp_path / "spool") as found:
        yield found


@pytest.fixture
def worker(
    folder: ServerFolder,
    make_settings: Callable[..., Settings],
    sqlite_url: str,
    policy_file: Path,
) -> Iterator[PolicyFollower]:
    """A worker's follower, which takes its steps when it is told."""
    put(policy_file, policy_of("red"))
    with use(App(make_settings(database_url=sqlite_url))) as app:
        found = PolicyFollower(app, folder)
        found.establish()
        yield found
        found.close()


def test_a_server_is_found_as_long_as_it_runs(tmp_path: Path) -> None:
    """Its folder goes with it; without any, there is none, and no folder is made."""
    spool = tmp_path / "spool"
    assert running(spool) == []
    assert not spool.exists()
    with made_in(spool) as one, made_in(spool) as other:
        assert {each.path for each in running(spool)} == {one.path, other.path}
    assert list(spool.iterdir()) == []


def test_a_folder_of_something_else_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server clears up after killed servers alone, also among the system's temporary files."""
    (tmp_path / "server-backup").mkdir()
    (tmp_path / "server-killed").mkdir()
    (tmp_path / "server-killed" / "alive").touch()
    with made_in(tmp_path):
        assert not (tmp_path / "server-killed").exists()
    (tmp_path / "server-of-others").mkdir()
    (tmp_path / "server-of-others" / "alive").touch()

    def closed(_path: Path) -> bool:
        raise PermissionError

    monkeypatch.setattr("usher.core.server_folder._held", closed)
    with made_in(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"server-backup", "server-of-others"}


def test_a_folder_of_another_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do; the superuser, who runs these tests perhaps, could read it."""

    def denied(path: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(UsherError, match="Run this as the user that runs the server"):
        running(tmp_path)


def test_requests_count_by_their_bytes_and_name_their_actor(folder: ServerFolder) -> None:
    """A line each; what somebody writes into a name makes no second line."""
    assert folder.asked() == 0
    first = folder.ask("usher")
    assert folder.ask("cli:a\nb") == folder.asked() > first
    assert (folder.actor(first), folder.actor(folder.asked())) == ("usher", "cli:a b")
    assert folder.actor(0) == "usher"


def test_what_another_version_wrote_is_told(folder: ServerFolder) -> None:
    """A newer command beside an older server."""
    assert folder.state() is None
    assert folder.version() == (0, 0)
    (folder.path / "policy.json").write_text('{"of": "another"}')
    with pytest.raises(UsherError, match="Restart the server"):
        folder.state()


def test_a_worker_that_ended_is_none(folder: ServerFolder) -> None:
    """Its report stays where it was killed; nobody holds its lock."""
    (folder.path / "worker-1").write_text("0123456789ab")
    assert folder.workers() == {}
    folder.report("0123456789ab")
    folder.report("ba9876543210")
    assert folder.workers() == {os.getpid(): "ba9876543210"}
    folder.close()
    folder.close()
    assert folder.workers() == {}


def test_a_change_counts_when_its_request_is_answered(folder: ServerFolder) -> None:
    """A worker that was killed before leaves it to the next one, which overwrites it."""
    one, two = (Change(NOON + timedelta(seconds=n), "usher", "a", "b") for n in range(2))
    folder.add_change(6, one)
    assert list(folder.changes(0)) == []
    folder.add_change(6, two)
    ((path, change),) = folder.changes(6)
    assert change == two
    path.unlink()
    assert not folder.has_changes()


def test_a_change_that_cannot_be_read_keeps_no_server_from_starting(tmp_path: Path) -> None:
    """What another version left behind is removed with its folder."""
    with made_in(tmp_path) as folder:
        folder.add_change(6, Change(NOON, "usher", "a", "b"))
        left = folder.path.rename(tmp_path / "server-dead")
    (left / "policy.json").write_text("{")
    with made_in(tmp_path) as again:
        assert not left.exists()
        assert not again.has_changes()


def test_one_answers_while_another_has_the_turn(
    worker: PolicyFollower, folder: ServerFolder, policy_file: Path
) -> None:
    """The one that does not have it takes up what the other accepted, with its next step."""
    put(policy_file, policy_of("blue"))
    asked = folder.ask("usher")
    with folder.turn() as ours:
        assert ours
        worker.step()
        state = folder.state()
        assert state is not None
        assert (state.answered, state.fingerprint) == (0, FINGERPRINTS["red"])
        worker._answer(asked)
        answered = folder.version()
        worker._answer(asked)  # once is enough
        assert folder.version() == answered
    worker.step()
    assert worker._usher.policy.fingerprint == FINGERPRINTS["blue"]


def test_the_audit_is_written_by_one_and_once(
    worker: PolicyFollower, folder: ServerFolder, policy_file: Path
) -> None:
    """Not by a second one that asks while it is; not again after a crash before the end."""
    put(policy_file, policy_of("blue"))
    folder.ask("cli:ada")
    with folder.auditing() as ours:
        assert ours
        worker.step()
    assert folder.has_changes()


def test_a_fault_of_the_disk_keeps_the_policy_and_the_request(
    worker: PolicyFollower,
    folder: ServerFolder,
    policy_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is answered as soon as there is room; until then nothing changes."""
    put(policy_file, policy_of("blue"))
    folder.ask("usher")

    def full(self: ServerFolder, state: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ServerFolder, "keep", full)
        with pytest.raises(OSError, match="No space"):
            worker.step()
    assert worker._usher.policy.fingerprint == FINGERPRINTS["red"]
    worker.step()
    assert worker._usher.policy.fingerprint == FINGERPRINTS["blue"]


def test_without_a_folder_the_policy_is_that_of_the_start(
    worker: PolicyFollower, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that no server started, and one whose folder is gone, still take events."""
    monkeypatch.delenv(VARIABLE, raising=False)
    assert policy_follower.start(worker._usher) is None
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone"))
    assert policy_follower.start(worker._usher) is None
    assert worker._usher.policy.fingerprint == FINGERPRINTS["red"]


def test_an_error_that_nobody_foresaw_keeps_the_policy(
    worker: PolicyFollower,
    folder: ServerFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its name is told, and no address that the policy's text may have."""

    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(policy_follower, "read_again", broken)
    folder.ask("usher")
    worker.step()
    assert worker._usher.policy_in_force.rejected == "MemoryError"


def test_the_log_hides_addresses_that_the_policy_has(
    worker: PolicyFollower,
    folder: ServerFolder,
    policy_file: Path,
) -> None:
    """Administrators see them in the console; the log never has one."""
    put(policy_file, '[[test]]\nwho = "ada@private.example"\nexpect = "refused"\n')
    folder.ask("usher")
    written = StringIO()
    log.configure(written)
    worker.step()
    assert "ada@private.example" in worker._usher.policy_in_force.rejected
    line = json.loads(written.getvalue())
    assert line["event"] == "policy.rejected"
    assert "ada@private.example" not in line["detail"]
    assert "should be refused" in line["detail"]


@pytest.mark.parametrize("made", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_refused_and_holds_nobody_up(
    worker: PolicyFollower, folder: ServerFolder, policy_file: Path, made: Callable[[Path], None]
) -> None:
    """The next reload is answered, too."""
    policy_file.unlink()
    made(policy_file)
    folder.ask("cli:me")
    worker.step()
    state = folder.state()
    assert state is not None
    assert state.rejected.endswith("is no regular file")
    assert state.fingerprint == FINGERPRINTS["red"]


def test_a_file_of_another_disk_is_promoted_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is copied beside the policy first, so that there is never half of one."""
    source, file = tmp_path / "policy.toml", tmp_path / "elsewhere" / "next.toml"
    file.parent.mkdir()
    source.write_text("old")
    file.write_text("new")
    source.chmod(0o640)
    monkeypatch.setattr(policy_reload, "_same_disk", lambda *_: False)
    policy_reload.promote(source, file)
    assert (source.read_text(), file.exists()) == ("new", False)
    former = policy_reload.former(source)
    assert (former.read_text(), former.stat().st_mode & 0o777) == ("old", 0o640)
    source.unlink()
    policy_reload.undo(source)
    assert source.read_text() == "old"
