"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

from core.differences import Differences

NO_MATCH = "Nothing that fits here."
MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])
"""A day or a moment, UTC."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def say(text: str, *, err: bool = False, **style: Any) -> None:
    """A line for people; no control character of a user's text reaches the terminal."""
    click.secho(_clean(text), err=err, **style)


def print_json(value: Any) -> None:
    """One JSON document, indented."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """A table; ``empty`` is said where there are no rows. Cells are text, never markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(Text(_clean(str(cell))) for cell in row))
        count += 1
    if count:
        console().print(table)
    else:
        click.echo(empty)


def difference_documents(differences: Differences) -> list[dict[str, Any]]:
    """Groups of differences as JSON."""
    return [
        {
            "what": group.what,
            "was": group.was,
            "now": group.now,
            "count": group.count,
            "examples": group.examples,
        }
        for group in differences.groups()
    ]


def print_differences(groups: Sequence[dict[str, Any]], empty: str) -> None:
    """Groups of differences as a table."""
    print_table(
        ("count", "what", "was", "is now", "for instance"),
        ((g["count"], g["what"], g["was"], g["now"], ", ".join(g["examples"])) for g in groups),
        empty,
    )


@contextmanager
def collecting_less() -> Iterator[None]:
    """Long work that makes many short-lived objects: the collector looks at them less often.

    Batches outlive its usual rounds, so that each would walk through thousands in vain (measured:
    an eighth of a replay's time).
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def progress() -> Progress:
    """A progress bar on standard error, shown on a terminal only."""
    shown = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=shown, disable=not shown.is_terminal, transient=True)


def console() -> Console:
    """Standard output; as wide as it needs when it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else 4_000, highlight=False)


def as_utc(value: datetime | None) -> datetime | None:
    """What ``MOMENT`` read, as the UTC time that it stands for."""
    return value.replace(tzinfo=UTC) if value else None


def moment(value: datetime | None) -> str:
    """A time for a table: UTC, to the second."""
    return value.strftime("%Y-%m-%d %H:%M:%S") if value else "-"


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
