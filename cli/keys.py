"""``usher keys``: make keys for machines, list and revoke them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from usher.cli.environment import actor, opened
from usher.cli.moments import Moment
from usher.cli.output import (
    cursor_option,
    json_option,
    limit_option,
    moment,
    print_json,
    print_table,
    reason_option,
    say,
    say_more,
)
from usher.core.domain.keys import NewKey, Scope, key_document, read_scopes

NEVER = "never"
DAYS = "90d"


class End(Moment):
    """A time ahead, or ``never``."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:  # a datetime, or never
        """Read the option's text."""
        return NEVER if value == NEVER else super().convert(value, param, ctx)


@click.group()
def keys() -> None:
    """Make, list and revoke keys, with which programs call the API."""


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help=f"What it may do, separated by commas; may be repeated: {', '.join(Scope)}.",
)
@click.option(
    "--expires",
    type=End(1),
    default=DAYS,
    show_default=True,
    help="The end of the key, or never.",
)
@json_option
def create(name: str, scopes: tuple[str, ...], expires: datetime | str, as_json: bool) -> None:
    """Make a key, and print it. It cannot be shown again."""
    named = [each.strip() for text in scopes for each in text.split(",")]
    end = expires if isinstance(expires, datetime) else None
    wanted = NewKey(name, read_scopes(filter(None, named)), end)
    with opened() as app:
        text, key = app.keys.create(wanted, actor())
        now = app.clock()
    if as_json:
        print_json({"key": text, **key_document(key, now)})
        return
    click.echo(text)
    ends = f"ends {moment(key.expires_at)} UTC" if key.expires_at else "has no end"
    say(f"Keep it now: nobody can show it again. It {ends}.", err=True)


@keys.command("list")
@limit_option
@cursor_option
@json_option
def list_keys(limit: int, cursor: str | None, as_json: bool) -> None:
    """List keys, newest first, without their text, which nobody knows."""
    with opened() as app:
        page = app.keys.page(limit=limit, cursor=cursor)
        now = app.clock()
    if as_json:
        documents = [key_document(each, now) for each in page.items]
        print_json({"keys": documents, "next_cursor": page.next_cursor})
        return
    print_table(
        ("name", "state", "scopes", "ends (UTC)", "used (UTC)", "made (UTC)", "by"),
        (
            (
                each.name,
                each.state(now).value,
                ", ".join(sorted(each.scopes)),
                moment(each.expires_at),
                moment(each.used_at),
                moment(each.created_at),
                each.created_by,
            )
            for each in page.items
        ),
        "No keys yet. Try: usher keys create feed --scope changes:read",
    )
    say_more(page)


@keys.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@reason_option
@json_option
def revoke(names: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Revoke keys: they open nothing from the next request on."""
    with opened() as app:
        revoked = [app.keys.revoke(name, actor(), reason) for name in names]
        now = app.clock()
    if as_json:
        print_json({"keys": [key_document(each, now) for each in revoked]})
        return
    for each in revoked:
        say(f"The key {each.name!r} is revoked.")
