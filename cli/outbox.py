"""``usher outbox``: changes on their way to handlers and sinks."""

from __future__ import annotations

import click

from usher.cli.environment import actor, opened
from usher.cli.outbox_run import run
from usher.cli.output import (
    NO_MATCH,
    counted,
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
from usher.core.app import App
from usher.core.domain.outbox_queue import State, Waiting
from usher.core.domain.outbox_view import (
    Filters,
    Seen,
    Standing,
    seen_document,
    standing_document,
    waiting_document,
)

consumer_option = click.option(
    "--consumer", default="", help="A consumer: handler:NAME or sink:ID, as the list shows it."
)


@click.group()
def outbox() -> None:
    """Hand changes over, and see to those that wait or failed."""


outbox.add_command(run)


@outbox.command("list")
@click.option("--state", type=click.Choice([state.value for state in State]))
@consumer_option
@click.option("--user", help="Only changes of this user, by id or e-mail address.")
@limit_option
@cursor_option
@json_option
def list_changes(
    state: str | None,
    consumer: str,
    user: str | None,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """Show how each consumer stands, and the changes that wait or failed, the newest first."""
    with opened() as app:
        filters = Filters(
            State(state) if state else None,
            consumer,
            app.store.users.find(user).id if user else None,
        )
        page = app.outbox.page(filters, limit=limit, cursor=cursor)
        standings = app.outbox.standings()
    if as_json:
        print_json(
            {
                "consumers": [standing_document(each) for each in standings],
                "changes": [waiting_document(row) for row in page.items],
                "next_cursor": page.next_cursor,
            }
        )
        return
    if filters == Filters() and not cursor:
        _print_standings(standings)
    print_table(
        (
            "number",
            "state",
            "consumer",
            "change",
            "user",
            "of (UTC)",
            "tries",
            "next (UTC)",
            "error",
        ),
        (
            (
                row.id,
                row.state,
                row.consumer,
                _kind(row),
                row.user_id,
                moment(row.at),
                row.tries,
                _next(row),
                row.error or "-",
            )
            for row in page.items
        ),
        "No change waits for another attempt, and none is a dead letter."
        if filters == Filters() and not cursor
        else NO_MATCH,
    )
    say_more(page)


@outbox.command()
@click.argument("number", type=click.IntRange(1))
@json_option
def show(number: int, as_json: bool) -> None:
    """Show one change that waits or failed, with what led to it."""
    with opened() as app:
        seen = app.outbox.get(number)
    if as_json:
        print_json(seen_document(seen))
        return
    row = seen.row
    for label, value in (
        ("number", row.id),
        ("change", f"{_kind(row)} {row.change_id}"),
        ("user", row.user_id),
        ("of", f"{moment(row.at)} UTC"),
        ("by", _cause(seen)),
        ("consumer", row.consumer),
        ("state", row.state),
        ("tries", row.tries),
        ("next", f"behind number {seen.behind}" if seen.behind else f"{_next(row)}{_utc(row)}"),
        ("failed", f"{moment(row.failed_at)} UTC" if row.failed_at else "-"),
        ("error", row.error or "-"),
    ):
        say(f"{label:<10}{value}")


@outbox.command()
@click.argument("numbers", metavar="[NUMBER]...", nargs=-1, type=click.IntRange(1))
@click.option("--dead", "consumer", help="Retry all dead letters of this consumer.")
@reason_option
@json_option
def retry(numbers: tuple[int, ...], consumer: str | None, reason: str, as_json: bool) -> None:
    """Hand changes over as soon as can be, with all their attempts before them."""
    if bool(numbers) == bool(consumer):
        raise click.UsageError("Give the numbers of changes, or --dead with a consumer.")
    count = 0
    with opened() as app:
        for number in numbers:
            app.outbox.retry(number, actor(), reason)
            count += 1
        more = True
        while consumer and more:
            some, more = app.outbox.retry_dead(consumer, actor(), reason)
            count += some
    if as_json:
        print_json({"retried": count})
    else:
        say(f"{counted(count, 'change')} will be handed over as soon as can be.")


@outbox.command()
@click.argument("numbers", metavar="NUMBER...", nargs=-1, required=True, type=click.IntRange(1))
@reason_option
@json_option
def skip(numbers: tuple[int, ...], reason: str, as_json: bool) -> None:
    """Never hand these changes over; those of the same person behind them go on."""
    with opened() as app:
        rows = [app.outbox.skip(number, actor(), reason) for number in numbers]
    if as_json:
        print_json({"skipped": [waiting_document(row) for row in rows]})
        return
    for row in rows:
        say(f"{row.consumer} will not get {_kind(row)} of {row.user_id}.")


@outbox.command()
@click.argument("consumer")
@reason_option
def forget(consumer: str, reason: str) -> None:
    """Forget a handler that no module has any more, with all changes that wait for it."""
    with opened() as app:
        if consumer in _handlers(app):
            raise click.ClickException(
                f"A module of USHER_HANDLERS has {consumer}, so it would begin anew, and never get "
                "what waits for it. Take the function out of its module first, or its module out "
                "of USHER_HANDLERS. `usher outbox skip` drops single changes."
            )
        count = app.outbox.forget(consumer, actor(), reason)
    say(f"{consumer} is forgotten, and {counted(count, 'change')} with it.")


def _handlers(app: App) -> set[str]:
    """The consumers that the modules of the settings have now.

    Raises:
        HandlersError: they cannot be imported, so nobody knows.
    """
    if not app.settings.handlers:
        return set()
    from usher.server.handler_child import handlers_of  # noqa: PLC0415 - most sites have none

    return {each.name for each in handlers_of(app.settings.handlers)}


def _print_standings(standings: list[Standing]) -> None:
    print_table(
        ("consumer", "behind", "waiting", "dead", "oldest (UTC)", "worked on (UTC)"),
        (
            (
                f"{each.name} (paused)" if each.paused else each.name,
                each.behind,
                each.waiting,
                each.dead,
                moment(each.oldest_at),
                moment(each.seen_at),
            )
            for each in standings
        ),
        "No consumer yet: docs/your-code.md and docs/sinks.md tell how to have one.",
    )
    click.echo()


def _kind(row: Waiting) -> str:
    return f"{row.kind} {row.role}" if row.role else row.kind


def _next(row: Waiting) -> str:
    if not row.is_waiting:
        return "never"
    return moment(row.due_at) if row.due_at else "behind another"


def _utc(row: Waiting) -> str:
    return " UTC" if row.is_waiting and row.due_at else ""


def _cause(seen: Seen) -> str:
    change = seen.change
    if change is None:
        return "-"
    event = f", event {change.delivery_id[:20]}" if change.delivery_id else ""
    return f"{change.actor}{event}{f' ({change.reason})' if change.reason else ''}"
