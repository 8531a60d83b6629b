"""Where the members of a JSON object begin and end in its bytes; no value is read. Pure.

Brackets and quotes suffice for that. The bytes may be many megabytes of any content, so they are
passed over in pieces, with a pause after each: while one is looked at, no other thread runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from usher.core.bounds import MAX_STRING_BYTES

PIECE_BYTES: Final = 64 * 1024
FINE_STEPS: Final = 1024
"""So many brackets and strings are passed one by one before a whole piece is tried."""

_SPACE = re.compile(rb"[ \t\n\r]*+")
_SCALAR = re.compile(rb'[^ \t\n\r,:"\[\]{}]*+')
_BESIDE = re.compile(rb'[^"\[\]{}]*+')
_IN_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_WHOLE_STRINGS = re.compile(rb'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_OPENING, _CLOSING = b"[{", b"]}"
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(sorted(set(range(256)) - set(_OPENING + _CLOSING)))
_NESTS = tuple(b"[" * 2**n + b"]" * 2**n for n in reversed(range(13)))


class Member(Struct, frozen=True, gc=False):
    """One member of an object.

    Attributes:
        key: empty for an element of a list, and where it is too long for one that matters.
        start, end: of the value, in the bytes.
        members: those of the value, or its elements, where they were asked for.
    """

    key: str
    start: int
    end: int
    members: tuple[Member, ...] | None


class Spans:
    """The spans in one document.

    Args:
        data: its bytes.
        pause: called about every 64 KiB; None: nothing is.
    """

    def __init__(self, data: bytes, pause: Callable[[], None] | None = None) -> None:
        self._data = data
        self._pause = pause
        self._next_pause = PIECE_BYTES

    def members(
        self, start: int = 0, inside: str | None = None, found: list[Member] | None = None
    ) -> tuple[tuple[Member, ...], int]:
        """The members of the object that begins here, or after white space, and where it ends.

        Args:
            inside: the key of the member whose members, or elements, are wanted as well.
            found: takes the members one by one, so that those before an error are known.

        Raises:
            IndexError, ValueError: this is no object of JSON.
        """
        data, found = self._data, [] if found is None else found
        at = self._after(_SPACE, self._expect(self._after(_SPACE, start), b"{"))
        if data[at] == ord("}"):
            return (), at + 1
        while True:
            end = self._end_of_string(at)
            key = json.loads(data[at:end].decode()) if end - at <= MAX_STRING_BYTES else ""
            begin = self._after(_SPACE, self._expect(self._after(_SPACE, end), b":"))
            members = None
            if key == inside and data[begin] == ord("{"):
                members, end = self.members(begin)
            elif key == inside and data[begin] == ord("["):
                members, end = self._elements(begin)
            else:
                end = self._end_of_value(begin)
            found.append(Member(key, begin, end, members))
            at = self._after(_SPACE, end)
            if data[at] == ord("}"):
                return tuple(found), at + 1
            at = self._after(_SPACE, self._expect(at, b","))

    def all_members(self, inside: str | None = None) -> tuple[Member, ...]:
        """The members of the object that is the whole document.

        Raises:
            IndexError, ValueError: the document is something else.
        """
        found, end = self.members(inside=inside)
        if self._after(_SPACE, end) != len(self._data):
            raise ValueError("data after the object")
        return found

    def _elements(self, start: int) -> tuple[tuple[Member, ...], int]:
        """The elements of the list that begins here, without keys, and where it ends."""
        found = list[Member]()
        at = self._after(_SPACE, self._expect(start, b"["))
        while self._data[at] != ord("]"):
            if found:
                at = self._after(_SPACE, self._expect(at, b","))
            end = self._end_of_value(at)
            found.append(Member("", at, end, None))
            at = self._after(_SPACE, end)
        return tuple(found), at + 1

    def _end_of_value(self, at: int) -> int:
        first = self._data[at]
        if first == ord('"'):
            return self._end_of_string(at)
        if first in _OPENING:
            return self._end_of_container(at)
        end = self._after(_SCALAR, at)
        if end == at:
            raise ValueError("a value is missing")
        return end

    def _end_of_container(self, at: int) -> int:
        """Go from bracket to bracket; where there are many, over whole pieces."""
        depth = steps = 0
        while True:
            first = self._data[at]
            if first == ord('"'):
                at = self._end_of_string(at)
            else:
                depth += 1 if first in _OPENING else -1
                at += 1
                if not depth:
                    return at
            steps += 1
            if not steps % FINE_STEPS:
                at, depth = self._skip_pieces(at, depth)
            at = self._after(_BESIDE, at)

    def _skip_pieces(self, at: int, depth: int) -> tuple[int, int]:
        """Go over pieces that do not hold the container's end; return where, and how deep."""
        while True:
            end = self._match(_WHOLE_STRINGS, at)
            left = _unmatched(self._data[at:end])
            closing = left.count(b"]")
            if end == at or closing >= depth:
                return at, depth
            at, depth = end, depth + len(left) - 2 * closing

    def _end_of_string(self, at: int) -> int:
        at = self._expect(at, b'"')
        while self._data[at] != ord('"'):
            end = self._match(_IN_STRING, at)
            if end == at:
                raise ValueError("a string has no end")
            at = end
        return at + 1

    def _after(self, run: re.Pattern[bytes], at: int) -> int:
        """The end of a run, which may be longer than a piece."""
        while (end := self._match(run, at)) == at + PIECE_BYTES:
            at = end
        return end

    def _match(self, run: re.Pattern[bytes], at: int) -> int:
        """The end of what matches within a piece; nothing is a match, too."""
        if at >= self._next_pause:
            self._next_pause = at + PIECE_BYTES
            if self._pause is not None:
                self._pause()
        return run.match(self._data, at, at + PIECE_BYTES).end()  # type: ignore[union-attr]

    def _expect(self, at: int, byte: bytes) -> int:
        if self._data[at : at + 1] != byte:
            raise ValueError(f"{byte!r} is missing")
        return at + 1


def _unmatched(piece: bytes) -> bytes:
    """The brackets that are not closed, or not opened, within a piece of whole strings.

    Both kinds count as one, for nothing that is passed over is read. Each turn takes away all
    nests, so only what branches takes several: at most the logarithm of the piece's length.
    """
    without = _ESCAPE.sub(b"", piece) if b"\\" in piece else piece
    left = b"".join(without.split(b'"')[::2]).translate(_ONE_KIND, _NO_BRACKETS)
    before = -1
    while before != len(left):
        before = len(left)
        for nest in _NESTS:
            left = left.replace(nest, b"")
    return left
