"""Edits of a TOML file as text, so that comments, order, quotes and line ends stay as they are.

An edit is tried at each place of the text where it might belong. The first result counts that
parses to what is wanted, and to nothing else. So no edit can land in a comment or in a string.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

BOM: Final = "\ufeff"
Keys = Sequence[str]
"""The keys that lead to a table, from the top."""


class NoPlaceError(Exception):
    """No place was found for an edit; ``lines`` are what somebody can add by hand."""

    def __init__(self, lines: str) -> None:
        super().__init__(lines)
        self.lines = lines


def read(text: str) -> dict[str, Any]:
    """Parse the text, which may begin with a byte order mark.

    Raises:
        tomllib.TOMLDecodeError: with line and column.
    """
    return tomllib.loads(text.removeprefix(BOM))


def add_key(text: str, table: Keys, key: str, value: Any) -> str:
    """Add a key that is missing to a table, which is made if need be.

    Raises:
        NoPlaceError: the text has no place for it.
    """
    line = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    header = f"[{'.'.join(table)}]"
    wanted = _with(read(text), [*table, key], value)
    return _first(_places_of_key(text, table, line, header), wanted, f"{header}\n{line}")


def prefix_text(text: str, path: Keys, prefix: str) -> str:
    """Put ``prefix``, which has neither quotes nor backslashes, before a text that is there.

    Raises:
        NoPlaceError: the text has no place for it.
    """
    document = read(text)
    found = document
    for name in path[:-1]:
        found = found[name]
    wanted = _with(document, path, prefix + found[path[-1]])
    opening = rf"(?<![\w-]){_key(path[-1])}[ \t]*=[ \t]*(?:\"\"\"\r?\n?|'''\r?\n?|\"|')"
    places = (match.end() for match in re.finditer(opening, text))
    candidates = (text[:at] + prefix + text[at:] for at in places)
    return _first(candidates, wanted, f"{path[-1]} = {json.dumps(prefix + '…')}")


def add_to_list(text: str, table: Keys, key: str, value: str) -> str:
    """Put a text first in a list that is there.

    Raises:
        NoPlaceError: the text has no place for it.
    """
    document = read(text)
    found = document
    for name in table:
        found = found[name]
    there = found[key] if isinstance(found[key], list) else []
    wanted = _with(document, [*table, key], [value, *there])
    places = (match.end() for match in re.finditer(rf"{_key(key)}[ \t]*=[ \t]*\[", text))
    between = ", " if there else ""
    candidates = (text[:at] + json.dumps(value) + between + text[at:] for at in places)
    return _first(candidates, wanted, f"{key} = [{json.dumps(value)}]")


def add_first(text: str, name: str, comment: str, tables: Sequence[Mapping[str, Any]]) -> str:
    """Put tables before the first one of an array of tables, such as ``[[redirects]]``.

    Raises:
        NoPlaceError: the text has no place for them.
    """
    document = read(text)
    there = document.get(name, [])
    wanted = document | {name: [*map(dict, tables), *(there if isinstance(there, list) else ())]}
    block = "\n".join(
        f"[[{name}]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        for table in tables
    )
    block = f"# {comment}\n{block}"
    return _first(_places_of_block(text, name, block), wanted, block)


def _places_of_key(text: str, table: Keys, line: str, header: str) -> Iterator[str]:
    end = newline(text)
    dotted = r"[ \t]*\.[ \t]*".join(map(_key, table))
    for match in re.finditer(rf"(?m)^{BOM}?[ \t]*\[[ \t]*{dotted}[ \t]*\][^\n]*(?:\n|\Z)", text):
        before = text[: match.end()]
        before += "" if before.endswith("\n") else end
        indent = re.match(r"[ \t]*(?=[\w\"'])|", text[match.end() :])
        yield f"{before}{indent.group() if indent else ''}{line}{end}{text[match.end() :]}"
    yield _appended(text, f"{header}\n{line}\n")
    for depth in range(len(table), 0, -1):  # in braces, its own or those of a table around it
        inner = ".".join([*table[depth:], line])
        for match in re.finditer(rf"{_key(table[depth - 1])}[ \t]*=[ \t]*\{{[ \t]*", text):
            rest = text[match.end() :]
            between = "" if rest.startswith("}") else ", "
            yield text[: match.end()] + inner + between + rest
    bom = BOM if text.startswith(BOM) else ""
    yield f"{bom}{'.'.join(table)}.{line}{end}{text.removeprefix(BOM)}"


def _places_of_block(text: str, name: str, block: str) -> Iterator[str]:
    """The comments directly above the first table stay with it."""
    end = newline(text)
    for match in re.finditer(rf"(?m)^[ \t]*\[\[[ \t]*{_key(name)}[ \t]*\]\]", text):
        above = text[: match.start()].splitlines(keepends=True)
        while above and above[-1].lstrip().startswith("#"):
            above.pop()
        at = len("".join(above))
        yield text[:at] + (block + "\n").replace("\n", end) + text[at:]
    yield _appended(text, block)


def _appended(text: str, block: str) -> str:
    """Put a block at the end, after an empty line."""
    end = newline(text)
    if text.removeprefix(BOM):
        text += ("" if text.endswith("\n") else end) + end
    return text + block.replace("\n", end)


def newline(text: str) -> str:
    """Return the line end that the text has."""
    return "\r\n" if "\r\n" in text else "\n"


def _first(candidates: Iterable[str], wanted: dict[str, Any], lines: str) -> str:
    for candidate in candidates:
        try:
            found = read(candidate)
        except tomllib.TOMLDecodeError:
            continue
        if found == wanted:
            return candidate
    raise NoPlaceError(lines)


def _with(document: dict[str, Any], path: Keys, value: Any) -> dict[str, Any]:
    wanted = copy.deepcopy(document)
    table = wanted
    for name in path[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return {}  # no text with the edit in it parses to this
    table[path[-1]] = value
    return wanted


def _key(name: str) -> str:
    """A pattern of a key, bare or quoted."""
    return f"""["']?{re.escape(name)}["']?"""
