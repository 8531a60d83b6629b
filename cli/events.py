"""``usher events``: deliveries from Identity, and the reasons for each answer."""

from __future__ import annotations

import sys
from datetime import datetime
from uuid import UUID

import click

from usher.cli.decisions import find_event, show_decision, told_in_full
from usher.cli.environment import actor, opened
from usher.cli.led import print_led
from usher.cli.moments import PAST
from usher.cli.output import (
    NO_MATCH,
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
from usher.cli.transfer import export, import_, prune
from usher.cli.users import force_option
from usher.core.domain.administration import Change
from usher.core.domain.documents import decision_document, delivery_with_body
from usher.core.domain.events import EventName
from usher.core.domain.failures import in_words
from usher.core.domain.outbox_view import led_document
from usher.core.domain.records import Delivery, Outcome
from usher.core.errors import EventUnreadableError
from usher.core.store.filters import DeliveryFilters
from usher.core.webhooks import event_of

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
@click.option(
    "--instance", type=click.UUID, help="Events of this Identity instance. Default: the one in use."
)
@click.option("--since", type=PAST, help="Only events received at or after this time.")
@click.option("--until", type=PAST, help="Only events received before this time.")
@limit_option
@cursor_option
@json_option
def list_events(
    event: str | None,
    outcome: str | None,
    user: str | None,
    instance: UUID | None,
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
        page = app.store.ledger.page(filters, limit=limit, cursor=cursor, instance_id=instance)
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
        if page.next_cursor or cursor or instance or filters != DeliveryFilters()
        else "No events yet. Try: usher trigger signup --email ada@example.com",
    )
    say_more(page)


@events.command()
@click.argument("event_id")
@reason_option
@force_option
@json_option
def again(event_id: str, reason: str, force: bool, as_json: bool) -> None:
    """Decide one event again, by today's policy and record, and apply it.

    For events that failed and that Identity does not send again. The first characters of its id
    are enough.
    """
    with opened() as app, told_in_full():
        delivery = find_event(app, event_id)
        event = event_of(delivery)
        if event is None:
            raise EventUnreadableError("Its body was erased, or is not an event that can be read.")
        failed = delivery if delivery.outcome is Outcome.FAILED else None
        change = Change(actor(), reason, force=force)
        decision = app.store.users.decide_again(event, app.policy, change, failed)
        if decision.user is not None:
            app.pushes.push(decision.user)
    if as_json:
        recorded, now = decision_document(delivery.recorded), decision_document(decision)
        print_json({"id": delivery.id, "recorded": recorded, "now": now})
        return
    show_decision("It was", delivery.recorded)
    show_decision("It is now", decision)


def _why(delivery: Delivery) -> str:
    """The rules that decided; of a failure what was raised, and where."""
    failure = in_words(delivery.reasons) if delivery.outcome is Outcome.FAILED else ""
    return failure or ", ".join(dict.fromkeys(reason.rule for reason in delivery.reasons))


@events.command()
@click.argument("event_id")
@click.option("--body", is_flag=True, help="Print the exact body and nothing else.")
@json_option
def show(event_id: str, body: bool, as_json: bool) -> None:
    """Show one event and the reasons for its answer. The first characters of its id are enough."""
    with opened() as app:
        delivery = app.store.ledger.find(event_id, of_any=True)
        led = app.outbox.led_by_event(delivery)
    if body:
        if delivery.body is None:
            raise click.ClickException("The body was erased; its digest is kept.")
        sys.stdout.buffer.write(delivery.body)
        return
    if as_json:
        print_json({**delivery_with_body(delivery), "led_to": [led_document(each) for each in led]})
        return
    for label, value in (
        ("id", delivery.id),
        ("event", delivery.event or "-"),
        ("user", delivery.user_id or "-"),
        ("instance", delivery.instance_id),
        ("received", f"{moment(delivery.received_at)} UTC at {delivery.path}"),
        ("outcome", delivery.outcome),
        ("policy", delivery.policy),
        ("answer", f"{delivery.reply.status} {delivery.reply.body}".rstrip()),
    ):
        say(f"{label:<10}{value}")
    click.echo("\nWhy:")
    for reason in delivery.reasons:
        say(f"  {reason.rule:<32} {reason.text}")
    click.echo()
    print_led(led, "It led to no change.")
