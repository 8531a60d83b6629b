"""The words of docstrings and comments: each sentence names its thing first."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator

import pytest

from tests.support import ROOT

EDITED: tuple[str, ...] = (
    "aws_lambda.py", "cli", "core", "emulator", "functions", "migrations", "server", "testing",
    "usher",
)  # fmt: skip
"""All Python that is shipped."""

_WORDS = ("who", "what", "whoever", "whatever", "that which")
_FIRST = re.compile(rf"\A\s*(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)
_LATER = re.compile(
    rf"(?:[.!?]\s+|\n\s*\n\s*)(?:{'|'.join(word.capitalize() for word in _WORDS)})\b"
)
_DIRECTIVE = re.compile(r"#\s*(?:(?:noqa|type|pragma|fmt)\b[^#]*?(?:\s-\s|\Z))?")


def texts(source: str) -> Iterator[tuple[int, str]]:
    """Docstrings (of attributes too) and comments of a module, each with its first line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.lineno, str(node.value.value)
    block, first, last = "", 0, -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, alone = token.start[0], not token.line[: token.start[1]].strip()
        text = _DIRECTIVE.sub("", token.string, count=1)
        if alone and line == last + 1:
            block += "\n" + text
        else:
            yield first, block
            block, first = text, line
        last = line if alone else -1
    yield first, block


def faults(source: str) -> list[int]:
    """First lines of the docstrings and comments with a sentence that begins with such a word."""
    found = (line for line, text in texts(source) if _FIRST.search(text) or _LATER.search(text))
    return sorted(found)


@pytest.mark.parametrize(
    "source",
    [
        '"""What it holds."""',
        '"""A reader.\n\nWho reads it decides."""',
        '"""A reader. Whoever reads it decides."""',
        'x = 1\n"""That which is kept."""',
        "# what it says",
        "x = 1  # who asks, waits",
        "# A value. What is more,\n# it is large.",
        "# A value.\n# What is more, it is large.",
        "import json  # noqa: PLC0415 - what is slow comes late",
    ],
)
def test_a_sentence_that_names_its_thing_late_is_found(source: str) -> None:
    """Wherever it stands: docstring, attribute, comment, after a directive."""
    assert len(faults(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        '"""The reader, and what it holds."""',
        '"""Whether it holds."""',
        '"""A reader.\n\nArgs:\n    name: what it is called.\n"""',
        "x = 'What is this?'",
        "# Some text, i.e. what it says",
        "import json  # noqa: PLC0415 - slow",
    ],
)
def test_other_sentences_are_not_found(source: str) -> None:
    """Clauses later in a sentence, entries of a list, and strings that are values."""
    assert faults(source) == []


def test_no_sentence_begins_with_who_or_what() -> None:
    """The thing comes first, by its usual name (CONTRIBUTING.md, "How it reads")."""
    found = []
    for edited in EDITED:
        path = ROOT / edited
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        assert files, f"{edited} is not there"
        for file in files:
            lines = faults(file.read_text(encoding="utf-8"))
            found += [f"{file.relative_to(ROOT)}:{line}" for line in lines]
    assert found == []
