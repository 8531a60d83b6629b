"""Where a cold start's time goes: the moments that a function and its database know of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median

from bench.netlify_function import Function
from bench.tls_database import Moment

Stages = dict[str, float]
"""Milliseconds until a moment, from the one before it, in order."""


def moments_of(running: Function, said: Iterable[Moment]) -> list[tuple[str, float]]:
    """The moments of a function's first answer, in order."""
    mine = [each for each in said if running.began <= each.at <= running.answered]
    found = [("entry file loaded", running.loaded), *running.marks]
    found.append(("database connected", _first(mine, "connection received")))
    found.append(("signed in (TLS, SCRAM)", _first(mine, "connection authorized")))
    statements = [each.at for each in mine if each.said.startswith(("statement:", "execute "))]
    found.append(("last statement sent", statements[-1]))
    found.append(("answered", running.answered))
    return sorted(found, key=lambda each: each[1])


def stages(running: Function, said: Iterable[Moment]) -> Stages:
    """What lies between them."""
    found, before = {}, running.began
    for name, at in moments_of(running, said):
        found[name] = (at - before) * 1000
        before = at
    return found


def medians(runs: Sequence[Stages]) -> Stages:
    """Of several runs, by stage, in the order of the first."""
    return {name: median(run[name] for run in runs if name in run) for name in runs[0]}


def _first(said: Iterable[Moment], beginning: str) -> float:
    return next(each.at for each in said if each.said.startswith(beginning))
