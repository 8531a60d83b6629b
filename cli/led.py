"""The changes that an event or a person led to, as a table."""

from __future__ import annotations

from collections.abc import Iterable

from usher.cli.output import moment, print_table
from usher.core.domain.outbox_view import TO_COME, Led, Outstanding


def print_led(changes: Iterable[Led], empty: str) -> None:
    """Print what was led to, each change with the consumers that do not have it."""
    print_table(
        ("led to", "role", "of (UTC)", "by", "not handed over to"),
        (
            (
                led.change.kind,
                led.change.role or "-",
                moment(led.change.at),
                led.change.actor,
                _outstanding(led),
            )
            for led in changes
        ),
        empty,
    )


def _outstanding(led: Led) -> str:
    if not led.told:
        return "anybody: it was played back"
    return ", ".join(map(_words, led.outstanding)) or "-"


def _words(each: Outstanding) -> str:
    if each.row is None:
        return f"{each.consumer} ({TO_COME.replace('_', ' ')})"
    return f"{each.consumer} ({each.state}, number {each.row.id})"
