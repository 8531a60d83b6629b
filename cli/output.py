"""Output of commands: tables for people, JSON for programs."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from msgspec.json import format as indented
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from usher.core.strict_json import dumps

if TYPE_CHECKING:
    from usher.core.domain.records import Page

NO_MATCH = "No matches."

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
reason_option = click.option("--reason", default="", help="The reason; kept in the audit.")
limit_option = click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
cursor_option = click.option("--cursor", help="Continue where the last page ended.")


def say(text: str, *, err: bool = False, **style: Any) -> None:
    """Print a line for people, without control characters: users may have typed some."""
    click.secho(_clean(text), err=err, **style)


def print_json(value: Any) -> None:
    """Print one JSON document, indented."""
    click.echo(indented(dumps(value), indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table, or ``empty`` where there are no rows. Cells are text, never markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    count = 0
    for row in rows:
        table.add_row(*(Text(_clean(str(cell))) for cell in row))
        count += 1
    if count:
        console().print(table)
    elif empty:
        click.echo(empty)


def say_more(page: Page[Any]) -> None:
    """Print how to go on after a page, where there is more."""
    if page.next_cursor:
        click.echo(f"More: --cursor {page.next_cursor}")


def print_differences(groups: Sequence[dict[str, Any]], empty: str) -> None:
    """Print groups of differences as a table."""
    print_table(
        ("count", "what", "was", "is now", "for instance"),
        ((g["count"], g["what"], g["was"], g["now"], ", ".join(g["examples"])) for g in groups),
        empty,
    )


@contextmanager
def collecting_less() -> Iterator[None]:
    """Run the garbage collector less often, during long work with many short-lived objects.

    A batch outlives the usual interval of collections, so each would walk thousands of objects in
    vain (measured: an eighth of a replay's time).
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


class Work:
    """The progress bar of long work."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._done = 0

    def add(self, count: int, reached: int | None = None) -> None:
        """Count ``count`` more items; ``reached`` sets the bar where its total has another unit."""
        self._done += count
        completed = self._done if reached is None else reached
        self._bar.update(self._task, completed=completed, done=f"{self._done:,}")

    def reach(self, done: int, total: int) -> None:
        """Set the items done, and the total as known by now."""
        self._done = done
        self._bar.update(self._task, completed=done, total=total, done=f"{done:,}")


@contextmanager
def working(title: str, total: int | None = None) -> Iterator[Work]:
    """Show a progress bar on standard error, if that is a terminal."""
    shown = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[done]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=shown, disable=not shown.is_terminal, transient=True) as bar:
        yield Work(bar, bar.add_task(title, total=total, done="0"))


def console() -> Console:
    """Return the console of standard output; where that is no terminal, wide enough not to wrap."""
    return Console(width=None if sys.stdout.isatty() else 4_000, highlight=False)


def moment(value: datetime | None) -> str:
    """Format a time for a table: UTC, to the second."""
    return value.strftime("%Y-%m-%d %H:%M:%S") if value else "-"


def counted(count: int, thing: str) -> str:
    """``1 user``, ``2 users``."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _clean(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)
