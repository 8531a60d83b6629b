"""Files of captures, read line by line whatever their size; errors carry the line's number."""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO, Final

from usher.core.captures.format import Capture, read_step
from usher.core.captures.sources import read_document
from usher.core.domain.records import AuditEntry
from usher.core.errors import CaptureError
from usher.core.strict_json import StrictJsonError, loads_object

MAX_LINE_BYTES: Final = 33_554_432
MAX_DOCUMENT_BYTES: Final = 268_435_456

Step = Capture | AuditEntry


class Reader:
    """Reads the steps of a file and counts its wrong lines.

    Args:
        on_wrong: called with the error of a wrong line, which is then skipped; None: it is raised.

    Attributes:
        wrong: the number of wrong lines so far.
        bytes_read: of lines, so far.
        size: of the file, in bytes; None where it is no regular file.
    """

    def __init__(
        self, file: IO[bytes], on_wrong: Callable[[CaptureError], object] | None = None
    ) -> None:
        self._file = file
        self._on_wrong = on_wrong
        self.wrong = 0
        self.bytes_read = 0
        self.size = _size(file)

    def steps(self) -> Iterator[tuple[int, Step]]:
        """Each step with its line's number, from 1.

        Raises:
            CaptureError: a wrong line, with its number, where ``on_wrong`` is None; or a file that
                has no captures and is nothing else that can be read.
        """
        number, line = 1, _without_mark(self._file.readline(MAX_LINE_BYTES + 1))
        while line and not line.strip():
            self.bytes_read += len(line)
            number, line = number + 1, self._file.readline(MAX_LINE_BYTES + 1)
        if not _is_step(line):
            yield from self._document(line)
            return
        while line:
            self.bytes_read += len(line)
            if line.strip():
                try:
                    yield number, self._read(line)
                except CaptureError as error:
                    wrong = CaptureError(error.problem, number)
                    if self._on_wrong is None:
                        raise wrong from None
                    self.wrong += 1
                    self._on_wrong(wrong)
            number, line = number + 1, self._file.readline(MAX_LINE_BYTES + 1)

    def _read(self, line: bytes) -> Step:
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = self._file.readline(MAX_LINE_BYTES)
                self.bytes_read += len(line)
            raise CaptureError(f"is longer than {MAX_LINE_BYTES} bytes")
        if not line.endswith(b"\n"):
            try:
                return read_step(line)
            except CaptureError as error:
                raise CaptureError(f"is cut short ({error.problem})") from None
        return read_step(line.rstrip(b"\r\n"))

    def _document(self, first: bytes) -> Iterator[tuple[int, Step]]:
        data = first + self._file.read(MAX_DOCUMENT_BYTES)
        if not data.strip():
            return
        if len(data) > MAX_DOCUMENT_BYTES:
            raise CaptureError("this is no file of captures, and too large to be anything else")
        yield from enumerate(read_document(data, datetime.now(UTC)), 1)


def _without_mark(data: bytes) -> bytes:
    """The first line without the mark that some editors put before UTF-8.

    Raises:
        CaptureError: the mark of another encoding.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CaptureError("the file is UTF-16; save it as UTF-8", 1)
    return data.removeprefix(codecs.BOM_UTF8)


def _is_step(line: bytes) -> bool:
    """Whether a file begins as captures do, be the line good or not."""
    if b'"usher_' in line[:20]:
        return True
    try:
        document = loads_object(line)
    except StrictJsonError:
        return False
    return "usher_capture" in document or "usher_act" in document


def _size(file: IO[bytes]) -> int | None:
    try:
        found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
