"""``usher events``: deliveries from Identity, and the reasons for each answer."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from usher.cli.environment import opened
from usher.cli.moments import PAST
from usher.cli.output import (
    NO_MATCH,
    json_option,
    moment,
    print_json,
    print_table,
    say,
)
from usher.cli.transfer import export, import_, prune
from usher.core.domain.documents import delivery_with_body
from usher.core.domain.events import EventName
from usher.core.domain.failures import AT, ERROR
from usher.core.domain.records import Delivery, Outcome
from usher.core.store.ledger import DeliveryFilters

OUTCOMES = tuple(outcome.value for outcome in Outcome)


@click.group()
def events() -> None:
    """Events received from Identity, as the ledger keeps them."""


for command in (export, import_, prune):
    events.add_command(command)


@events.command("list")
@click.option("--event", type=click.Choice([name.value for name in EventName]))
@click.option("--outcome", type=click.Choice(OUTCOMES))
@click.option("--user", help="Only events of this user, by id or e-mail address.")
@click.option("--since", type=PAST, help="Only events received at or after this time.")
@click.option("--until", type=PAST, help="Only events received before this time.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", help="Continue where the last page ended.")
@json_option
def list_events(
    event: str | None,
    outcome: str | None,
    user: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List events, newest first."""
    with opened() as app:
        filters = DeliveryFilters(
            event=event or "",
            outcome=outcome or "",
            user_id=app.store.users.find(user).id if user else None,
            since=since,
            until=until,
        )
        page = app.store.ledger.page(filters, limit=limit, cursor=cursor)
    if as_json:
        documents = [delivery_with_body(delivery) for delivery in page.items]
        print_json({"events": documents, "next_cursor": page.next_cursor})
        return
    print_table(
        ("seq", "received (UTC)", "event", "outcome", "reply", "rules", "id"),
        (
            (
                d.sequence,
                moment(d.received_at),
                d.event or "-",
                d.outcome,
                d.reply.status,
                _why(d),
                d.id[:20],
            )
            for d in page.items
        ),
        NO_MATCH
        if page.next_cursor or cursor or filters != DeliveryFilters()
        else "No events yet. Try: usher trigger signup --email ada@example.com",
    )
    if page.next_cursor:
        click.echo(f"More: --cursor {page.next_cursor}")


def _why(delivery: Delivery) -> str:
    """The rules that decided; of a failure what was raised, and where."""
    if delivery.outcome is not Outcome.FAILED:
        return ", ".join(reason.rule for reason in delivery.reasons)
    return " at ".join(reason.text for reason in delivery.reasons if reason.rule in (ERROR, AT))


@events.command()
@click.argument("event_id")
@click.option("--body", is_flag=True, help="Print the exact body and nothing else.")
@json_option
def show(event_id: str, body: bool, as_json: bool) -> None:
    """Show one event and the reasons for its answer. The first characters of its id are enough."""
    with opened() as app:
        delivery = app.store.ledger.find(event_id)
    if body:
        if delivery.body is None:
            raise click.ClickException("The body was erased; its digest is kept.")
        sys.stdout.buffer.write(delivery.body)
        return
    if as_json:
        print_json(delivery_with_body(delivery))
        return
    for label, value in (
        ("id", delivery.id),
        ("event", delivery.event or "-"),
        ("user", delivery.user_id or "-"),
        ("received", f"{moment(delivery.received_at)} UTC at {delivery.path}"),
        ("outcome", delivery.outcome),
        ("policy", delivery.policy),
        ("answer", f"{delivery.reply.status} {delivery.reply.body}".rstrip()),
    ):
        say(f"{label:<10}{value}")
    click.echo("\nWhy:")
    for reason in delivery.reasons:
        say(f"  {reason.rule:<32} {reason.text}")
