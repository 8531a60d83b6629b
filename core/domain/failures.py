"""The failure of one delivery, in words that may be kept: class, message, file and line. Pure.

The message of an exception may hold anything. Only a short part of it is kept, which can be stored
and shows no address, token or password.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from usher.core.domain.policy import Reason

ERROR: Final = "error"
"""The rule that names a failure's class and message."""
AT: Final = "error.at"
"""The rule that names a failure's file and line."""
_RULES: Final = (ERROR, AT)
MAX_MESSAGE: Final = 300
MAX_NAME: Final = 200
_READ: Final = 4_000
"""Characters of a message that are looked at."""
_TEXTS: Final = 200
"""Personal texts that are looked for in one message."""
_WORDS: Final = 5
"""Words of a text each of which may be a name."""
_WORD: Final = r"[^\s<>()\[\]{}\"'`,;:=|@]"
_HIDDEN: Final = (
    (re.compile(r"://[^/\s@]{1,200}@"), "://[hidden]@"),
    (re.compile(r"(/[^\s?#'\"]{0,200}\?)[^\s=?'\"]{1,100}=[^\s'\")]*"), r"\1[hidden]"),  # of a URL
    (re.compile(f'(?:"[^"]{{1,64}}"|{_WORD}{{1,64}})@{_WORD}+'), "[address]"),
    (re.compile(r"[\w.+-]{1,64}%40[\w.%-]+"), "[address]"),
    (re.compile(r"[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,}"), "[hidden]"),
    (
        re.compile(
            r"(?i)(passw(?:or)?d|secret|token|api[_-]?key|bearer)(['\"]?(?:\s*[=:]\s*|\s+))\S+"
        ),
        r"\1\2[hidden]",
    ),
    (re.compile(r"(?i)\b(basic|digest) +[\w+/-]{8,}=*"), r"\1 [hidden]"),
    (
        re.compile(r"\b((?:[prs]k_(?:live|test)|whsec|gh[opsu]|xox[a-z]|SG)[_.-])[\w.+/-]{8,}=*"),
        r"\1[hidden]",
    ),
    (re.compile(r"(?=[A-Za-z_-]{0,200}\d)[A-Za-z0-9_-]{32,}"), "[hidden]"),
    (
        re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]{0,200}\d)(?=\d{0,200}[A-Za-z])[A-Za-z0-9]{12,}"),
        "[hidden]",
    ),
    (re.compile(r"\+\d[\d ().-]{6,}\d|(?:\d{4}[ -]){3}\d+|\d{9,}"), "[number]"),
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_SET_ASIDE: Final = "\ue000"


class Failure(Struct, frozen=True, gc=False):
    """Why a delivery failed; each text is on one line.

    Attributes:
        error: name of the exception's class.
        message: as ``shown`` leaves it.
        file: that of the developer's line, or empty.
        line: counts from 1; 0 where no line is known.
    """

    error: str
    message: str
    file: str
    line: int

    @property
    def place(self) -> str:
        """``file:line``, or an empty text."""
        return f"{self.file}:{self.line}" if self.file else ""

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """The failure for the ledger."""
        said = f"{self.error}: {self.message}" if self.message else self.error
        where = (Reason(AT, self.place),) if self.file else ()
        return (Reason(ERROR, said), *where)

    def fields(self) -> dict[str, Any]:
        """The failure for a line of the log."""
        return {
            "error": self.error,
            "message": self.message,
            "file": self.file,
            "line": self.line,
        }


def in_words(reasons: Iterable[Reason]) -> str:
    """The failure among the reasons of a delivery, for a list."""
    return " at ".join(reason.text for reason in reasons if reason.rule in _RULES)


def personal_texts(*values: object) -> frozenset[str]:
    """The texts and longer numbers within what a person wrote, and each word of what may be a name.

    Args:
        values: as JSON has them.
    """
    found: set[str] = set()
    for text in _texts(values):
        words = text.split()
        found.update((text, text.partition("@")[0], *(words if len(words) <= _WORDS else ())))
    return frozenset(text for text in found if len(text) > (2 if text.isascii() else 1))


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield one_line(value[:_READ])
    elif isinstance(value, int | float):
        yield str(value) if value > 999 else ""
    elif isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def shown(text: str, personal: Collection[str] = ()) -> str:
    """The first words of a message, on one line, without secrets, addresses and personal texts.

    Args:
        personal: see ``personal_texts``; the longest of them are hidden.
    """
    if len(text) > _READ:
        text = text[:_READ].rpartition(" ")[0]  # half an address is not known as one
    text = one_line(text.replace(_SET_ASIDE, " "))
    ids = _UUID.findall(text)
    text = _UUID.sub(_SET_ASIDE, text)  # a user's id is no secret, but long enough for one
    for pattern, instead in _HIDDEN:
        text = pattern.sub(instead, text)
    if personal:
        longest = sorted(personal, key=lambda each: (-len(each), each))[:_TEXTS]
        either = "|".join(map(re.escape, longest))
        text = re.sub(rf"(?i)(?<!\w)(?:{either})(?!\w)", "[personal]", text)
    for each in ids:
        text = text.replace(_SET_ASIDE, each, 1)
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def one_line(text: str) -> str:
    """A text that any database stores and any terminal shows."""
    kept = ("\ufffd" if "\ud800" <= c <= "\udfff" else c if c.isprintable() else " " for c in text)
    return " ".join("".join(kept).split())
