"""The spool's files: whole records come back in order, whatever happened to the end of a file."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.store.store_support import LogLines
from usher.core.errors import SpoolError
from usher.core.spool import files as module
from usher.core.spool.files import DEAD_LETTERS, SUFFIX, Spool, SpoolFile, Tally, read, waiting

RECORDS = [b'{"n":1}', b'{"n":2}', b'{"n":3}']


def everything(spool: Spool) -> Iterator[bytes]:
    """Every record of a spool, file by file."""
    while (file := spool.oldest()) is not None:
        yield from read(file)
        spool.remove(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Not there yet."""
    return tmp_path / "deep" / "spool"


def test_records_come_back_in_their_order_over_several_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is read is not written to any more; afterwards nothing is left."""
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 40)
    spool = Spool(folder)
    assert not spool
    spool.append(RECORDS)
    spool.append([b"4"])
    assert spool.oldest() is not None
    spool.append([b"5"])
    assert waiting(folder) == {"waiting": 5, "dead_letters": 0}
    assert list(everything(spool)) == [*RECORDS, b"4", b"5"]
    assert not spool
    assert list(folder.iterdir()) == []


def test_only_the_owner_can_read_them(folder: Path) -> None:
    """They hold what the database holds."""
    spool = Spool(folder)
    spool.append(RECORDS)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]
    spool.close()


@settings(deadline=None)
@given(cut=st.integers(0, 3 * 17))
def test_a_torn_end_costs_only_what_was_torn(
    cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whole records before it are all there, none is made up."""
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    spool.append(RECORDS)
    [path] = folder.iterdir()
    spool.close()
    os.truncate(path, cut)
    late = Spool(folder)
    assert late.adopt() is True
    assert list(everything(late)) == RECORDS[: cut // 17]


def test_a_damaged_record_is_passed_over_and_logged(folder: Path) -> None:
    """The others are read."""
    spool = Spool(folder)
    spool.append(RECORDS)
    [path] = folder.iterdir()
    path.write_bytes(path.read_bytes().replace(b'"n":2', b'"n":9'))
    lines = LogLines()
    assert list(everything(spool)) == [RECORDS[0], RECORDS[2]]
    assert [line["level"] for line in lines("spool.damaged")] == ["error"]


def test_what_was_not_acknowledged_is_taken_out_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed sync the file is cut back, and a new one begun."""
    spool = Spool(folder)
    spool.append(RECORDS[:1])

    def broken(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        with pytest.raises(SpoolError, match="Input/output error"):
            spool.append(RECORDS[1:2])
        patched.setattr(os, "ftruncate", lambda *_: broken(0))
        with pytest.raises(SpoolError):
            spool.append(RECORDS[1:2])
    spool.append(RECORDS[2:])
    assert list(everything(spool)) == [RECORDS[0], RECORDS[2]]


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(tmp_path: Path) -> None:
    """When asked beforehand, and when a record comes."""
    (tmp_path / "file").write_text("")
    spool = Spool(tmp_path / "file" / "spool")
    with pytest.raises(SpoolError, match="cannot be written"):
        spool.check()
    with pytest.raises(SpoolError, match="Make room, or set USHER_SPOOL"):
        spool.append(RECORDS)
    assert spool.adopt() is False


def test_a_check_leaves_nothing_behind(folder: Path) -> None:
    """Only the folder."""
    Spool(folder).check()
    assert list(folder.iterdir()) == []


def test_files_that_are_held_or_gone_are_not_adopted(folder: Path) -> None:
    """One is another's as long as that one lives; one may vanish as it is looked at."""
    first, second = Spool(folder), Spool(folder)
    first.append(RECORDS)
    assert second.adopt() is False
    first.close()
    assert second.adopt() is True
    assert first.adopt() is False
    assert module._take(folder / "gone.spool") is None
    assert list(everything(second)) == RECORDS


def test_a_file_that_was_removed_while_it_was_being_locked_is_not_adopted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records are in the database already."""
    spool = Spool(folder)
    spool.append(RECORDS)
    [path] = folder.iterdir()
    spool.close()
    monkeypatch.setattr(fcntl, "flock", lambda *_: path.unlink())
    assert Spool(folder).adopt() is False


def test_what_lies_behind_the_acknowledged_part_is_not_read(folder: Path) -> None:
    """Where the file could not be cut back."""
    spool = Spool(folder)
    spool.append(RECORDS)
    file = spool.oldest()
    assert file is not None
    assert list(read(SpoolFile(file.path, -1, file.size - 1))) == RECORDS[:2]
    spool.close()


def test_a_tally_reads_only_what_is_new(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files grow, are cut off after a failed write, and go; what was set aside may be renamed."""
    tally = Tally(folder)
    assert (tally.waiting(), tally.dead_letters()) == (0, 0)
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 40)
    spool = Spool(folder)
    spool.append(RECORDS)
    assert tally.waiting() == 3
    (path,) = folder.glob(f"*{SUFFIX}")
    whole = path.read_bytes()
    path.write_bytes(b"-" * len(whole))  # who reads it again finds nothing
    assert tally.waiting() == 3
    path.write_bytes(whole[:-1])
    assert tally.waiting() == 2
    spool.append([b"4"])
    spool.keep_dead_letters([b"5", b"6"])
    assert (tally.waiting(), tally.dead_letters()) == (3, 2)
    (folder / DEAD_LETTERS).rename(folder / f"again{SUFFIX}")
    assert (tally.waiting(), tally.dead_letters()) == (5, 0)
    path.unlink()
    assert tally.waiting() == 3
    spool.close()
