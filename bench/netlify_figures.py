"""What ``bench.netlify`` measured, and how it is told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Final

from bench.events_http import spread

PLAIN: Final = "javascript"
NODE: Final = 24
"""Netlify's default, of which the aims speak."""
HEADER: Final = """\
| Node | share | function | cold, stored: ms | by JavaScript | CPU ms | cold, forged | CPU ms | \
warm signup: p50, p99 ms | login: p50, p99 ms | peak MiB | with files |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"""
Promise = tuple[str, float, list[float]]
"""What is aimed at, at most how much, and what was measured: the figure, or with its spread."""


@dataclass(slots=True)
class Figures:
    """What was measured of one function, on one Node with one share; times in ms.

    Attributes:
        peak_mib: the most memory of its control group, or of the process where there is none.
        resident_mib: the same of the process, with the files that are mapped, as Node itself.
    """

    function: str
    node: int
    share: str
    cold_good: list[float] = field(default_factory=list)
    cold_forged: list[float] = field(default_factory=list)
    cpu_good: list[float] = field(default_factory=list)
    cpu_forged: list[float] = field(default_factory=list)
    signup: list[float] = field(default_factory=list)
    login: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)
    resident_mib: list[float] = field(default_factory=list)


def p99(times: Sequence[float]) -> float:
    """The least that 99 of 100 do not exceed."""
    return sorted(times)[math.ceil(len(times) * 0.99) - 1]


def with_spread(figures: Sequence[float]) -> list[float]:
    """The median, the least and the greatest."""
    return [median(figures), min(figures), max(figures)]


def seconds(milliseconds: Sequence[float]) -> list[float]:
    """The same, with the spread."""
    return with_spread([each / 1000 for each in milliseconds])


def ratios(ours: Figures, theirs: Figures) -> list[float]:
    """Of the cold starts of one round, by the plain function's."""
    return with_spread([a / b for a, b in zip(ours.cold_good, theirs.cold_good, strict=True)])


def table(rows: Sequence[Figures]) -> Iterator[str]:
    """In Markdown, with the ratio to plain JavaScript on the same Node with the same share."""
    plain = {(row.node, row.share): row for row in rows if row.function == PLAIN}
    yield HEADER
    for row in rows:
        beside = plain.get((row.node, row.share), row)
        cells = (
            row.node,
            row.share,
            row.function,
            "{:,.0f} ({:,.0f} to {:,.0f})".format(*with_spread(row.cold_good)),
            "" if beside is row else spread(ratios(row, beside)),
            f"{median(row.cpu_good):,.0f}",
            f"{median(row.cold_forged):,.0f}",
            f"{median(row.cpu_forged):,.0f}",
            f"{median(row.signup):.1f}, {p99(row.signup):.1f}",
            f"{median(row.login):.1f}, {p99(row.login):.1f}",
            f"{max(row.peak_mib):.0f}",
            f"{max(row.resident_mib):.0f}",
        )
        yield f"| {' | '.join(str(cell) for cell in cells)} |"


def promises(found: dict[str, Any]) -> list[Promise]:
    """The aims, from what ``--json`` wrote; those of runs that were made."""
    rows = {
        row["share"]: Figures(**row)
        for row in found["rows"]
        if (row["function"], row["node"]) == ("usher", NODE)
    }
    lines: list[Promise] = []
    for share, good, forged in (("1024 MB", 1, 0.6), ("2048 MB", 0.6, 0.6)):
        if share in rows:
            row = rows[share]
            lines += [
                (f"Netlify, {share}: cold to a stored signup, s", good, seconds(row.cold_good)),
                (f"Netlify, {share}: cold, forged, s", forged, seconds(row.cold_forged)),
                (f"Netlify, {share}: warm signup, ms", 15, [median(row.signup)]),
                (f"Netlify, {share}: peak MiB", 300, [max(row.peak_mib)]),
            ]
    if "usher" in found["bytes"]:
        lines.append(("Netlify: MB zipped", 35, [found["bytes"]["usher"][0] / 1e6]))
    return lines


def sentence(found: dict[str, Any]) -> str:
    """For the documentation: what the aims speak of."""
    told = (
        f"{what.removeprefix('Netlify, ')} {figures[0]:.3g}" for what, _, figures in promises(found)
    )
    return "; ".join(told)
