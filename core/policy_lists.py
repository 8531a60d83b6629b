"""Lists in policy.toml: addresses and domains, in the file itself or in a text file beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from usher.core.bounds import MAX_LIST_BYTES
from usher.core.domain.conditions import BELOW, NONE, Entries, Spelling
from usher.core.domain.events import email_key, split_address
from usher.core.domain.policy import ListFile, listed
from usher.core.errors import PolicyError

BOM: Final = "\ufeff"
"""Some editors write it at the start of a file."""
MAX_QUOTED_CHARACTERS: Final = 80
"""Of an entry that is wrong: the line of a list may be a whole file of another kind."""


class Content(Struct, frozen=True):
    """A file that a policy is made of, as it was when it was read."""

    data: bytes
    changed_at: datetime


Read = Callable[[Path], Content]


def read_file(path: Path) -> Content:
    """Read a file, of more than ``MAX_LIST_BYTES`` only so much that one can tell.

    Raises:
        OSError
    """
    with path.open("rb") as file:
        data = file.read(MAX_LIST_BYTES + 1)
    return Content(data, datetime.fromtimestamp(path.stat().st_mtime, UTC))


class ListFiles:
    """The text files that a policy names, each read once.

    Args:
        folder: of the policy; names of files count from here. None: no file may be read.
        content: gives what a file holds; raises as ``read_file``.

    Attributes:
        read: the files, by name.
    """

    def __init__(self, folder: Path | None, content: Read = read_file) -> None:
        self._folder = folder
        self._content = content
        self._texts: dict[str, str] = {}
        self.read: dict[str, ListFile] = {}

    def lines(self, name: str, where: str) -> list[str]:
        """The lines of a file.

        Raises:
            PolicyError: it cannot be read.
        """
        if self._folder is None:
            raise PolicyError(where, "names a file, which only the command line reads")
        if name not in self._texts:
            try:
                content = self._content(self._folder / name)
                text = content.data.decode("utf-8-sig")
            except FileNotFoundError:
                raise PolicyError(where, f"there is no file {name}") from None
            except (OSError, ValueError) as error:
                raise PolicyError(where, f"{name} cannot be read: {error}") from None
            if len(content.data) > MAX_LIST_BYTES:
                raise PolicyError(where, f"{name} has over {MAX_LIST_BYTES} bytes")
            self._texts[name] = text
            digest = hashlib.sha256(content.data).hexdigest()
            self.read[name] = ListFile(name, digest, content.changed_at)
        return self._texts[name].splitlines()


class ListReader:
    """Reads the lists of one policy.

    Args:
        spelling: by which its addresses are folded.
    """

    def __init__(self, files: ListFiles, spelling: Spelling) -> None:
        self._files = files
        self._spelling = spelling

    def emails(self, value: Any, where: str, *more: str) -> Entries:
        """A list of addresses.

        Args:
            value: a list, or a table of ``values`` and ``file``.
            more: further keys of that table.

        Raises:
            PolicyError
        """
        return self._entries(value, where, {"values", "file", *more}, self._email)

    def domains(self, value: Any, where: str, *more: str) -> Entries:
        """A list of domains: as ``emails``, and the table may have ``subdomains``."""
        found = self._entries(value, where, {"values", "file", "subdomains", *more}, read_domain)
        subdomains = value.get("subdomains", False) if isinstance(value, dict) else False
        if not isinstance(subdomains, bool):
            raise PolicyError(f"{where} subdomains", "must be true or false")
        if not subdomains:
            return found
        words = f"{found.words} and everything below"
        return Entries(found.exact, found.below | found.exact, words)

    def _email(self, text: str) -> str:
        address, _ = split_address(email_key(text))
        if not address:
            raise ValueError(f"{_quoted(text)} is not an e-mail address")
        return self._spelling.fold(address)

    def _entries(
        self, value: Any, where: str, keys: set[str], read: Callable[[str], str]
    ) -> Entries:
        if not isinstance(value, dict):
            return _sorted_out(_each(strings(value, where), where, read))
        known(value, keys, where)
        entries = set(_each(strings(value.get("values", []), where), where, read))
        name = value.get("file")
        if name is None:
            return _sorted_out(entries)
        if not isinstance(name, str) or not name:
            raise PolicyError(f"{where} file", "must be the name of a file")
        lines = self._files.lines(name, f"{where} file")
        of_file = set(_each_line(lines, f"{where}: {name} line", read))
        if not of_file:
            raise PolicyError(f"{where} file", f"{name} has no entry")
        words = [_sorted_out(entries).words] if entries else []
        found = _sorted_out(entries | of_file)
        return Entries(
            found.exact, found.below, " and ".join([*words, f"{len(of_file)} of {name}"])
        )


def read_domain(text: str) -> str:
    """A domain, or all that is below one, in its one spelling.

    Raises:
        ValueError: it is neither.
    """
    bare = text.removeprefix(BELOW)
    _, domain = split_address(email_key(f"a@{bare}"))
    if not domain:
        raise ValueError(f'{_quoted(text)} is not a domain; write "example.com", without @')
    return BELOW + domain if text.startswith(BELOW) else domain


def _quoted(text: str) -> str:
    """An entry that is wrong, as far as an error has room for it."""
    return repr(text if len(text) <= MAX_QUOTED_CHARACTERS else f"{text[:MAX_QUOTED_CHARACTERS]}…")


def strings(value: Any, where: str) -> list[str]:
    """Require a list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise PolicyError(where, "must be a list of strings")
    return value


def known(table: Mapping[str, Any], keys: set[str], where: str) -> None:
    """Require that a table has no other keys."""
    if unknown := sorted(set(table) - keys):
        raise PolicyError(where, f"unknown key {unknown[0]!r}; known are {listed(keys)}")


def _sorted_out(entries: Iterable[str]) -> Entries:
    found = frozenset(entries)
    below = frozenset(each for each in found if each.startswith(BELOW))
    if not below:
        return Entries(found) if found else NONE
    return Entries(found - below, frozenset(each.removeprefix(BELOW) for each in below))


def _each(texts: Iterable[str], where: str, read: Callable[[str], str]) -> list[str]:
    try:
        return [read(text) for text in texts]
    except ValueError as error:
        raise PolicyError(where, str(error)) from None


def _each_line(lines: Iterable[str], where: str, read: Callable[[str], str]) -> list[str]:
    """The entries of a file: one a line, without comments and empty lines."""
    found = []
    for number, line in enumerate(lines, 1):
        if text := line.partition("#")[0].strip():
            try:
                found.append(read(text))
            except ValueError as error:
                raise PolicyError(f"{where} {number}", str(error)) from None
    return found
