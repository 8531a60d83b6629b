"""``usher events``: what Identity sent, and why it was answered so."""

from __future__ import annotations

import sys

import click

from cli.environment import opened
from cli.output import delivery_document, json_option, moment, print_json, print_table, say
from cli.users import find
from core.events import EventName

OUTCOMES = ("applied", "unchanged", "denied", "ignored", "invalid")


@click.group()
def events() -> None:
    """The ledger of deliveries."""


@events.command("list")
@click.option("--event", type=click.Choice([name.value for name in EventName]))
@click.option("--outcome", type=click.Choice(OUTCOMES))
@click.option("--user", help="Only this user's, by id or e-mail address.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option(
    "--before",
    type=click.IntRange(1, 2**63 - 1),
    help="Only what arrived before this sequence number.",
)
@json_option
def list_events(
    event: str | None,
    outcome: str | None,
    user: str | None,
    limit: int,
    before: int | None,
    as_json: bool,
) -> None:
    """List deliveries, newest first."""
    with opened() as app:
        deliveries = app.store.ledger.page(
            event=event,
            outcome=outcome,
            user_id=find(app, user).id if user else None,
            before=before,
            limit=limit + 1,
        )
    more, deliveries = len(deliveries) > limit, deliveries[:limit]
    if as_json:
        print_json({"events": [delivery_document(delivery) for delivery in deliveries]})
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
                ", ".join(r.rule for r in d.reasons),
                d.id[:20],
            )
            for d in deliveries
        ),
        "No events yet. Try: usher trigger signup --email ada@example.com",
    )
    if more:
        click.echo(f"More: --before {deliveries[-1].sequence}")


@events.command()
@click.argument("event_id")
@click.option("--body", is_flag=True, help="Print the exact body and nothing else.")
@json_option
def show(event_id: str, body: bool, as_json: bool) -> None:
    """Show one delivery and why it was decided so. The first characters of its id are enough."""
    with opened() as app:
        delivery = app.store.ledger.find(event_id)
    if body:
        if delivery.body is None:
            raise click.ClickException("The body was erased; its digest is kept.")
        sys.stdout.buffer.write(delivery.body)
        return
    if as_json:
        print_json(delivery_document(delivery))
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
