"""The findings of ``usher doctor``: a kind is an entry of the table, a finding was met just now.

A new finding takes one ``Kind`` beside its check, one case in tests/cli/test_doctor_walk.py, and
one row in docs/doctor.md.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from usher.cli.output import counted


class Severity(StrEnum):
    """``error`` alone makes the exit code 1."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class _Number(int):
    """A number that words a thing: ``{count:user}`` is ``1 user`` or ``2 users``."""

    def __format__(self, thing: str) -> str:
        return counted(self, thing) if thing else str(int(self))


def _fill(template: str, facts: Mapping[str, Any]) -> str:
    worded = {name: _Number(v) if isinstance(v, int) else v for name, v in facts.items()}
    return template.format_map(worded)


class Advice(Struct, frozen=True):
    """One possible cause of a finding, and the way to mend it.

    ``{name}`` stands for a fact, ``{name:user}`` for a number of users.

    Attributes:
        cause: a sentence.
        mend: sentences in the imperative; empty where the commands say all.
        commands: to be run, in this order; printed after ``mend``.
        settings: names of the settings to be set; ``mend`` has them too.
    """

    cause: str
    mend: str = ""
    commands: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def filled(self, facts: Mapping[str, Any]) -> Advice:
        """The advice with facts in it; in commands they are quoted for a shell."""
        quoted = {name: shlex.quote(str(value)) for name, value in facts.items()}
        return replace(
            self,
            cause=_fill(self.cause, facts),
            mend=_fill(self.mend, facts),
            commands=tuple(_fill(each, quoted) for each in self.commands),
            settings=tuple(_fill(each, facts) for each in self.settings),
        )

    def __str__(self) -> str:
        run = f"Run: {', then: '.join(self.commands)}" if self.commands else ""
        return " ".join(filter(None, (self.cause, self.mend, run)))


class Finding(Struct, frozen=True):
    """The result of one check.

    Attributes:
        key: the key of its kind; of a check that found nothing, its name and ``.ok``.
        text: one sentence, with the facts.
        advice: the likeliest cause first; empty where nothing is to be mended.
    """

    key: str
    text: str
    severity: Severity = Severity.OK
    facts: Mapping[str, Any] = field(default_factory=dict)
    advice: tuple[Advice, ...] = ()

    @property
    def name(self) -> str:
        """The name of the check."""
        return self.key.partition(".")[0]

    @property
    def well(self) -> bool:
        """Whether there is nothing to mend."""
        return self.severity is Severity.OK

    def document(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            "name": self.name,
            "key": self.key,
            "severity": self.severity,
            "well": self.well,
            "text": self.text,
            "facts": dict(self.facts),
            "advice": [
                {
                    "cause": each.cause,
                    "mend": each.mend,
                    "commands": list(each.commands),
                    "settings": list(each.settings),
                }
                for each in self.advice
            ],
        }


class Kind(Struct, frozen=True):
    """An entry of the table.

    Attributes:
        key: the name of the check, a point, and a name of its own.
        problem: one sentence about what is wrong, with facts as in ``Advice``.
        advice: one for each possible cause, the likeliest first.
    """

    key: str
    problem: str
    advice: tuple[Advice, ...]
    severity: Severity = Severity.ERROR

    def found(self, **facts: Any) -> Finding:
        """A finding of this kind; the facts are values of JSON."""
        advice = tuple(each.filled(facts) for each in self.advice)
        return Finding(self.key, _fill(self.problem, facts), self.severity, facts, advice)


def fine(name: str, text: str, **facts: Any) -> Finding:
    """The result of a check that found nothing to mend."""
    return Finding(f"{name}.ok", text, facts=facts)
