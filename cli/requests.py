"""``usher requests``: people ask to be let in, or for a role, and administrators decide."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import click

from usher.cli.environment import actor, opened
from usher.cli.moments import AHEAD
from usher.cli.output import (
    counted,
    cursor_option,
    json_option,
    moment,
    print_json,
    print_table,
    reason_option,
    say,
    say_more,
)
from usher.core.app import App
from usher.core.bounds import MAX_REASON_CHARACTERS
from usher.core.domain.administration import Change
from usher.core.domain.decide import applicant
from usher.core.domain.documents import user_document, verdict_document
from usher.core.domain.events import EventName
from usher.core.domain.policy import Verdict
from usher.core.domain.requests import (
    Asked,
    Request,
    State,
    request_document,
)
from usher.core.errors import PolicyError, UsherError

STATES = (*(state.value for state in State), "all")
AT_ONCE = 200

numbers_argument = click.argument("numbers", metavar="NUMBER...", nargs=-1, type=int)
all_option = click.option(
    "--all", "everything", is_flag=True, help="Everybody who waits to be let in."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


@click.group()
def requests() -> None:
    """Show and decide requests: to be let in, or for a role."""


@requests.command("list")
@click.option("--state", type=click.Choice(STATES), default=State.OPEN.value, show_default=True)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, AT_ONCE))
@cursor_option
@json_option
def list_requests(state: str, limit: int, cursor: str | None, as_json: bool) -> None:
    """List requests, the oldest first, each with what the policy says of the person."""
    wanted = None if state == "all" else State(state)
    with opened() as app:
        page = app.requests.page(wanted, limit=limit, cursor=cursor)
        if as_json:
            documents = [_document(app, asked) for asked in page.items]
            print_json({"requests": documents, "next_cursor": page.next_cursor})
            return
        print_table(
            ("no", "since (UTC)", "user", "asks for", "state", "reason", "policy"),
            (
                (
                    asked.request.id,
                    moment(asked.request.created_at),
                    asked.user.email or asked.user.id,
                    _wish(asked.request),
                    asked.request.state,
                    asked.request.reason or "-",
                    _said(_verdict(app, asked)),
                )
                for asked in page.items
            ),
            "Nobody waits." if wanted is State.OPEN else "No requests.",
        )
    say_more(page)


@requests.command()
@click.argument("number", type=int)
@json_option
def show(number: int, as_json: bool) -> None:
    """Show one request, and the rules behind what the policy says."""
    with opened() as app:
        asked = app.requests.get(number)
        verdict = _verdict(app, asked)
        if as_json:
            print_json(_document(app, asked))
            return
    request = asked.request
    for label, value in (
        ("user", f"{asked.user.email or '-'} ({asked.user.id})"),
        ("asks for", _wish(request)),
        ("since", moment(request.created_at)),
        ("reason", request.reason or "-"),
        ("state", request.state),
        ("decided", f"{moment(request.decided_at)} {request.actor}".rstrip(" -") or "-"),
        ("sentence", request.sentence or "-"),
        ("policy", _said(verdict)),
    ):
        say(f"{label:<10}{value}", bold=label == "asks for")
    for reason in (*verdict.reasons, *verdict.role_reasons) if verdict else ():
        say(f"  {reason.rule:<31}  {reason.text}")


@requests.command()
@numbers_argument
@all_option
@click.option("--role", "roles", multiple=True, help="Give this role besides; can be repeated.")
@click.option("--until", type=AHEAD, help="End of these roles: a time in UTC, or a span (30d).")
@reason_option
@yes_option
@json_option
def approve(
    numbers: tuple[int, ...],
    everything: bool,
    roles: tuple[str, ...],
    until: datetime | None,
    reason: str,
    yes: bool,
    as_json: bool,
) -> None:
    """Let people in with the policy's roles, or give the role that they ask for.

    With --role, a request for a role is answered by these roles instead.
    """

    def decide(app: App, number: int) -> Asked:
        if until and until <= app.clock():
            raise click.BadParameter("lies in the past", param_hint="--until")
        change = Change(actor(), reason)
        asked = app.requests.approve(number, app.policy, change, roles, until)
        return Asked(asked.request, app.pushes.push(asked.user))

    _each(numbers, everything, yes, as_json, "Approve", decide)


@requests.command()
@numbers_argument
@all_option
@click.option("--message", default="", help="The sentence that the person is shown.")
@reason_option
@yes_option
@json_option
def decline(
    numbers: tuple[int, ...], everything: bool, message: str, reason: str, yes: bool, as_json: bool
) -> None:
    """Decline requests. Somebody who waits goes on waiting, and can be approved later."""
    if len(message) > MAX_REASON_CHARACTERS:
        raise click.BadParameter(
            f"has more than {MAX_REASON_CHARACTERS} characters", param_hint="--message"
        )
    _each(
        numbers,
        everything,
        yes,
        as_json,
        "Decline",
        lambda app, number: app.requests.decline(number, Change(actor(), reason), message),
    )


def _each(
    numbers: tuple[int, ...],
    everything: bool,
    yes: bool,
    as_json: bool,
    verb: str,
    decide: Callable[[App, int], Asked],
) -> None:
    """Decide several requests one after the other; one that fails does not stop the others."""
    if bool(numbers) is everything:
        raise click.UsageError("Name requests by their numbers, or all to be let in by --all.")
    documents: list[dict[str, Any]] = []
    failed = False
    with opened() as app:
        chosen = list(_entries(app)) if everything else list(dict.fromkeys(numbers))
        if everything and not yes:
            wishes = counted(len(chosen), "request")
            click.confirm(f"{verb} {wishes} to be let in?", abort=True, err=True)
        for number in chosen:
            try:
                asked = decide(app, number)
            except UsherError as error:
                say(f"{number}: {error}", err=True)
                failed = True
                continue
            if as_json:
                documents.append(_document(app, asked))
            else:
                request = asked.request
                who = asked.user.email or asked.user.id
                say(f"{number}: {who}, {_wish(request)}: {request.state.value}.")
    if as_json:
        print_json({"requests": documents})
    if failed:
        raise SystemExit(1)


def _entries(app: App) -> Iterator[int]:
    """The open requests to be let in: a role is not given unread to somebody who asks for it."""
    cursor = None
    while True:
        page = app.requests.page(State.OPEN, limit=AT_ONCE, cursor=cursor)
        yield from (asked.request.id for asked in page.items if asked.request.role is None)
        cursor = page.next_cursor
        if cursor is None:
            return


def _wish(request: Request) -> str:
    return "to be let in" if request.role is None else f"role {request.role!r}"


def _verdict(app: App, asked: Asked) -> Verdict | None:
    """The policy's verdict; None where its callable fails, which must not stop a decision."""
    try:
        return app.policy.evaluate(applicant(EventName.SIGNUP, asked.user, app.clock()))
    except PolicyError:
        return None


def _said(verdict: Verdict | None) -> str:
    if verdict is None:
        return "fails"
    roles = f", with {', '.join(sorted(verdict.roles))}" if verdict.roles else ""
    if not verdict.admitted:
        return "refuses"
    return ("asks for approval" if verdict.asks else "admits") + roles


def _document(app: App, asked: Asked) -> dict[str, Any]:
    verdict = _verdict(app, asked)
    said = verdict and verdict_document(verdict) | {"fingerprint": app.policy.fingerprint}
    return {
        **request_document(asked.request),
        "actor": asked.request.actor,
        "user": user_document(asked.user, app.clock()),
        "policy": said,
    }
