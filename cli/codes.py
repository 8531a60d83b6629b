"""``usher codes``: make invitation codes, list and revoke them."""

from __future__ import annotations

import csv
import sys
from datetime import datetime
from uuid import UUID

import click

from usher.cli.environment import actor, opened
from usher.cli.ids import read_id
from usher.cli.moments import AHEAD
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
from usher.core.bounds import MAX_CODES_AT_ONCE
from usher.core.domain.codes import Code, NewCodes
from usher.core.domain.documents import code_document, utc
from usher.core.errors import CodeNotFoundError


@click.group()
def codes() -> None:
    """Make, list and revoke invitation codes. The policy names the field that holds them."""


@codes.command()
@click.option(
    "--count",
    default=1,
    show_default=True,
    type=click.IntRange(1, MAX_CODES_AT_ONCE),
    help="The number of codes.",
)
@click.option("--uses", default=1, show_default=True, help="The accounts that each code admits.")
@click.option("--role", "roles", multiple=True, help="A role for each of them; may be repeated.")
@click.option("--role-until", type=AHEAD, help="The end of these roles.")
@click.option("--until", type=AHEAD, help="From this time on nobody can use the codes.")
@click.option("--label", default="", help="Your words, to tell the codes apart later.")
@click.option("--code", "spelling", default="", help="A code of your own, instead of a random one.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV: code, id, roles, end.")
@json_option
def make(
    count: int,
    uses: int,
    roles: tuple[str, ...],
    role_until: datetime | None,
    until: datetime | None,
    label: str,
    spelling: str,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Make invitation codes, and print them. They cannot be shown again."""
    wanted = NewCodes(
        count=count,
        allowed=uses,
        roles=roles,
        roles_until=role_until,
        ends_at=until,
        label=label,
        spelling=spelling,
    )
    with opened() as app:
        counting = app.policy.counting  # a broken policy is told before any code is made
        made = app.codes.make(wanted, actor())
        now = app.clock()
    if as_json:
        print_json({"codes": [{"code": text, **code_document(each, now)} for text, each in made]})
    elif as_csv:
        rows = csv.writer(sys.stdout)
        rows.writerow(("code", "id", "roles", "ends_at"))
        rows.writerows(
            (text, each.id, ", ".join(each.roles), utc(each.ends_at) or "") for text, each in made
        )
    else:
        for text, _ in made:
            click.echo(text)
    if counting is None or not counting.code_key:
        say(
            "No policy looks at codes yet. Name the field that holds them in policy.toml: "
            '[admission] invitation_code = "code".',
            err=True,
        )


@codes.command("list")
@limit_option
@cursor_option
@json_option
def list_codes(limit: int, cursor: str | None, as_json: bool) -> None:
    """List codes, newest first, without their spelling, which nobody knows."""
    with opened() as app:
        page = app.codes.page(limit=limit, cursor=cursor)
        now = app.clock()
    if as_json:
        documents = [code_document(each, now) for each in page.items]
        print_json({"codes": documents, "next_cursor": page.next_cursor})
        return
    print_table(
        ("id", "state", "used", "roles", "ends (UTC)", "made (UTC)", "by", "label"),
        (
            (
                each.id,
                _state(each, now),
                f"{each.used} of {each.allowed}",
                ", ".join(each.roles) or "-",
                moment(each.ends_at),
                moment(each.created_at),
                each.created_by,
                each.label or "-",
            )
            for each in page.items
        ),
        "No codes yet. Try: usher codes make --count 30",
    )
    say_more(page)


@codes.command()
@click.argument("code_id", metavar="ID")
@limit_option
@cursor_option
@json_option
def show(code_id: str, limit: int, cursor: str | None, as_json: bool) -> None:
    """Show one code, and the accounts that used it."""
    with opened() as app:
        found = app.codes.get(_id(code_id))
        uses = app.codes.uses(found.id, limit=limit, cursor=cursor)
        now = app.clock()
    if as_json:
        used_by = [{"user_id": each.user_id, "used_at": each.used_at} for each in uses.items]
        document = code_document(found, now)
        print_json({**document, "uses": used_by, "next_cursor": uses.next_cursor})
        return
    for label, value in (
        ("id", found.id),
        ("state", _state(found, now)),
        ("label", found.label or "-"),
        ("used", f"{found.used} of {found.allowed}"),
        ("roles", ", ".join(found.roles) or "-"),
        ("roles end", moment(found.roles_until)),
        ("ends", moment(found.ends_at)),
        ("made", f"{moment(found.created_at)} by {found.created_by}"),
        ("revoked", moment(found.revoked_at)),
    ):
        say(f"{label:<10} {value}")
    click.echo()
    rows = ((each.user_id, moment(each.used_at)) for each in uses.items)
    print_table(("user", "used (UTC)"), rows, "Nobody has used it.")
    say_more(uses)


@codes.command()
@click.argument("code_ids", metavar="ID...", nargs=-1, required=True)
@reason_option
@json_option
def revoke(code_ids: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Revoke codes: nobody can use them from now on. The accounts that did stay as they are."""
    ids = [_id(each) for each in code_ids]
    with opened() as app:
        revoked = [app.codes.revoke(each, actor(), reason) for each in ids]
        now = app.clock()
    if as_json:
        print_json({"codes": [code_document(each, now) for each in revoked]})
        return
    for each in revoked:
        say(f"The code {each.id} is revoked; it was used {each.used} of {each.allowed} times.")


def _state(code: Code, now: datetime) -> str:
    return code.state(now.timestamp()).value.replace("_", " ")


def _id(text: str) -> UUID:
    return read_id(text, "code", CodeNotFoundError)
