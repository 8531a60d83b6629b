"""``usher users``: show records and change them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from usher.cli.environment import actor, opened
from usher.cli.led import print_led
from usher.cli.moments import AHEAD, PAST
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
from usher.cli.pending import prune_pending
from usher.core.app import App
from usher.core.domain import administration
from usher.core.domain.administration import Change, Command
from usher.core.domain.documents import user_document
from usher.core.domain.records import Status, User
from usher.core.domain.roles import effective
from usher.core.domain.written import Written
from usher.core.store.filters import DeliveryFilters, Sort, UserFilters
from usher.core.strict_json import dumps

MOST_SHOWN = 60
"""Characters of a value in a table."""

force_option = click.option(
    "--force", is_flag=True, help="Continue even if this leaves the site without an administrator."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


@click.group()
def users() -> None:
    """Show and change users, by id or e-mail address."""


users.add_command(prune_pending)


@users.command("list")
@click.option("--status", type=click.Choice([status.value for status in Status]))
@click.option("--role", default="", help="Only users with this role now.")
@click.option("--provider", default="", help="Only users of this provider: email, google, …")
@click.option("--email", "email_prefix", default="", help="Only addresses that begin with this.")
@click.option("--created-since", type=PAST, help="Only users created at or after this time.")
@click.option("--created-until", type=PAST, help="Only users created before this time.")
@click.option("--seen-since", type=PAST, help="Only users last seen at or after this time.")
@click.option("--seen-until", type=PAST, help="Only users last seen before this time.")
@click.option(
    "--sort",
    type=click.Choice([sort.value for sort in Sort]),
    default=Sort.CREATED.value,
    show_default=True,
)
@click.option("--descending", is_flag=True, help="Reverse the order.")
@limit_option
@cursor_option
@json_option
def list_users(
    status: str | None,
    role: str,
    provider: str,
    email_prefix: str,
    created_since: datetime | None,
    created_until: datetime | None,
    seen_since: datetime | None,
    seen_until: datetime | None,
    sort: str,
    descending: bool,
    limit: int,
    cursor: str | None,
    as_json: bool,
) -> None:
    """List users, by default in the order of creation."""
    filters = UserFilters(
        status=Status(status) if status else None,
        role=role,
        provider=provider,
        email_prefix=email_prefix,
        created_since=created_since,
        created_until=created_until,
        seen_since=seen_since,
        seen_until=seen_until,
    )
    with opened() as app:
        page = app.store.users.page(
            filters, sort=Sort(sort), descending=descending, limit=limit, cursor=cursor
        )
        now = app.clock()
    if as_json:
        documents = [user_document(user, now) for user in page.items]
        print_json({"users": documents, "next_cursor": page.next_cursor})
        return
    print_table(
        ("id", "email", "status", "roles", "provider", "last seen (UTC)"),
        (
            (
                u.id,
                u.email or "-",
                u.status,
                ", ".join(sorted(effective(u.grants, now))) or "-",
                u.provider or "-",
                moment(u.last_seen_at),
            )
            for u in page.items
        ),
        NO_MATCH
        if page.next_cursor or cursor or filters != UserFilters()
        else "No users yet. Try: usher trigger signup --email ada@example.com",
    )
    say_more(page)


@users.command()
@click.argument("user")
@json_option
def show(user: str, as_json: bool) -> None:
    """Show one user with all grants and denials, the last events, and what they led to."""
    with opened() as app:
        found = app.store.users.find(user)
        now = app.clock()
        if as_json:
            print_json(user_document(found, now))
            return
        deliveries = app.store.ledger.page(DeliveryFilters(user_id=found.id), limit=10)
        led = app.outbox.led_by_person(found, limit=10)
        said = _identity(app, found) or "in step with the next login"
    for label, value in (
        ("id", found.id),
        ("email", found.email or "-"),
        ("status", found.status),
        ("roles", ", ".join(sorted(effective(found.grants, now))) or "-"),
        ("provider", found.provider or "-"),
        ("identity", said),
        ("created", moment(found.created_at)),
        ("last seen", moment(found.last_seen_at)),
    ):
        say(f"{label:<11}{value}", bold=label == "roles")
    if found.at_identity.unreadable:
        say(f"{'':<11}unreadable: {found.at_identity.unreadable}", fg="yellow")
    click.echo()
    print_table(
        ("role", "", "by", "actor", "reason", "until (UTC)"),
        (
            (
                g.role,
                "denied" if g.denies else "granted" if g.holds(now) else "ended",
                g.source,
                g.actor,
                g.reason or "-",
                moment(g.expires_at),
            )
            for g in found.grants
        ),
        "No role was ever given.",
    )
    if found.written is not None:
        _print_written(found, found.written)
    click.echo()
    print_table(
        ("event", "outcome", "received (UTC)", "id"),
        ((d.event, d.outcome, moment(d.received_at), d.id[:20]) for d in deliveries.items),
        "No events on record.",
    )
    click.echo()
    print_led(led.items, "No changes on record.")


def _print_written(user: User, written: Written) -> None:
    """The keys of metadata that handlers wrote, with their values and the handlers' names."""
    ours = user.extra_app_metadata
    keys = [(key, "app_metadata", ours.get(key), by) for key, by in written.app_metadata.items()]
    keys += [
        (key, "user_metadata", each.value, each.handler)
        for key, each in written.user_metadata.items()
    ]
    click.echo()
    print_table(
        ("key", "of", "value", "by the handler"),
        ((key, part, _in_short(value), by) for key, part, value, by in keys),
        "No handler wrote a key.",
    )


def _in_short(value: object) -> str:
    text = "removed" if value is None else dumps(value)
    return text if len(text) <= MOST_SHOWN else f"{text[: MOST_SHOWN - 1]}…"


@users.command()
@click.argument("user")
@click.argument("role")
@reason_option
@click.option("--until", type=AHEAD, help="End of the grant: a time in UTC, or a span (30d).")
@json_option
def grant(user: str, role: str, reason: str, until: datetime | None, as_json: bool) -> None:
    """Grant a role. The user's token has it when it is next refreshed.

    Without credentials for Identity's admin API, the token has it at the next login.
    """

    def check(app: App, _: User) -> None:
        if until and until <= app.clock():
            raise click.BadParameter("lies in the past", param_hint="--until")

    _change(
        user,
        administration.grant(role, expires_at=until),
        Change(actor(), reason),
        lambda who: f"{who} now has the role {role!r}.",
        as_json,
        check,
    )


@users.command()
@click.argument("user")
@click.argument("role")
@reason_option
@force_option
@json_option
def revoke(user: str, role: str, reason: str, force: bool, as_json: bool) -> None:
    """Remove a role. If the policy gives it, it is denied from now on."""

    def check(app: App, found: User) -> None:
        if role not in effective(found.grants, app.clock()):
            say(f"{found.email or found.id} does not have the role {role!r} now.", err=True)

    _change(
        user,
        administration.revoke(role),
        Change(actor(), reason, force=force),
        lambda who: f"{who} has the role {role!r} no longer.",
        as_json,
        check,
    )


@users.command()
@click.argument("user")
@reason_option
@force_option
@json_option
def suspend(user: str, reason: str, force: bool, as_json: bool) -> None:
    """Suspend a user: signups and logins are refused until reactivated."""
    _change(
        user,
        administration.suspend(),
        Change(actor(), reason, force=force),
        lambda who: f"{who} is suspended.",
        as_json,
    )


@users.command()
@click.argument("user")
@reason_option
@json_option
def reactivate(user: str, reason: str, as_json: bool) -> None:
    """Let a suspended user in again."""
    _change(
        user,
        administration.reactivate(),
        Change(actor(), reason),
        lambda who: f"{who} is let in again.",
        as_json,
    )


@users.command()
@click.argument("user")
@reason_option
@force_option
@yes_option
@json_option
def delete(user: str, reason: str, force: bool, yes: bool, as_json: bool) -> None:
    """Delete a user: erase all personal data for good, and delete the account at Identity.

    Only the id is kept. Without credentials for Identity's admin API, the account there stays.
    """

    def check(_: App, found: User) -> None:
        if not yes:
            say(f"This erases all personal data of {found.email or found.id} for good.", err=True)
            click.confirm("Go on?", abort=True, err=True)

    _change(
        user,
        administration.delete(),
        Change(actor(), reason, force=force),
        lambda who: f"{who} is deleted.",
        as_json,
        check,
    )


def _change(
    handle: str,
    command: Command,
    change: Change,
    sentence: Callable[[str], str],
    as_json: bool,
    check: Callable[[App, User], None] | None = None,
) -> None:
    """Change a user, tell Identity, and print the result.

    Args:
        check: called with the record as found; raises to prevent the change.
    """
    with opened() as app:
        found = app.store.users.find(handle)
        if check is not None:
            check(app, found)
        changed = app.store.users.change(found, command, change)
        is_changed = changed.version != found.version
        changed = app.pushes.push(changed)
        said = _identity(app, changed)
        document: dict[str, Any] = user_document(changed, app.clock())
    if as_json:
        print_json(document)
        return
    if is_changed:
        say(sentence(changed.email or str(changed.id)))
    else:
        say("Nothing changed.")
    say(f"Roles: {', '.join(document['roles']) or '-'}")
    if said:
        say(f"Identity: {said}")


def _identity(app: App, user: User) -> str:
    """Describe Identity's state; empty where changes reach it only with the next login."""
    if not app.settings.tells_identity:
        return ""
    if not user.at_identity.pending:
        return "in step"
    if app.settings.observes:
        return "told nothing, since Usher only observes (USHER_MODE)"
    if app.identity is not None and app.identity.is_waiting:
        return "pending until a function on Netlify is given a token for it"
    pending = app.pushes.of(user)
    why = f" ({pending.error.rstrip('.')})" if pending and pending.error else ""
    return f"pending{why}. The server tries again by itself."
