"""``usher trigger``: make, sign and send an event exactly as Identity does."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

import click

from usher.cli.environment import environment, say_whose
from usher.cli.output import json_option, print_json, say
from usher.core.domain.events import EventName
from usher.core.settings import Settings
from usher.emulator.payload import ZERO_INSTANCE, Account, event_body, go_json
from usher.emulator.sender import Attempt, send, signed_headers

_PEOPLE = UUID("6f1d6d1e-6f0e-4d53-9a52-5a1f6a0c7a11")


def _pairs(
    _context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{value!r} must be written key=value")
        try:
            found[key] = json.loads(text)
            go_json(found[key])
        except UnicodeEncodeError:
            raise click.BadParameter(f"the value of {key} has half a surrogate pair") from None
        except (ValueError, RecursionError):
            found[key] = text
    return found


@click.command()
@click.argument("event", type=click.Choice([name.value for name in EventName]), metavar="EVENT")
@click.option("--email", default="ada@example.com", show_default=True, help="The address.")
@click.option("--name", help="The person's full name (user_metadata.full_name).")
@click.option("--provider", default="email", show_default=True, help="email, google, …")
@click.option("--user-id", type=click.UUID, help="Default: derived from the address.")
@click.option("--new", is_flag=True, help="Use a new user id.")
@click.option(
    "--data", multiple=True, callback=_pairs, help="user_metadata as key=value (or JSON)."
)
@click.option(
    "--app-data",
    multiple=True,
    callback=_pairs,
    help="app_metadata likewise; roles left out count as removed at Identity.",
)
@click.option(
    "--confirmed/--unproven",
    default=True,
    help="Whether the address was proven by mail; --unproven is a signup with autoconfirm.",
)
@click.option("--url", help="Default: the function for this event on http://127.0.0.1:8888.")
@click.option(
    "--instance-id",
    type=click.UUID,
    help="The Identity instance that signs. Default: USHER_INSTANCE_ID, or else the zero UUID.",
)
@json_option
def trigger(
    event: str,
    email: str,
    name: str | None,
    provider: str,
    user_id: UUID | None,
    new: bool,
    data: dict[str, Any],
    app_data: dict[str, Any],
    confirmed: bool,
    url: str | None,
    instance_id: UUID | None,
    as_json: bool,
) -> None:
    """Send one event as Identity does, with its retries, and show the answer.

    A claim in its signature says that it is made, so that it never counts as Identity's own word.

    EVENT is validate, signup, login, usermodified or userdeleted. Exits with 0 when the event was
    accepted, and with 1 when Identity would turn the person away.
    """
    if url and not url.startswith(("http://", "https://")):
        raise click.BadParameter("must begin with http:// or https://", param_hint="--url")
    say_whose()
    settings = Settings.from_env(environment())
    instance_id = instance_id or settings.instance_id or ZERO_INSTANCE
    user = user_id or (uuid4() if new else uuid5(_PEOPLE, email))
    account = make_account(
        event,
        user,
        email,
        provider=provider,
        name=name,
        data=data,
        app_data=app_data,
        confirmed=confirmed,
    )
    body = event_body(event, account, instance_id)
    target = url or f"http://127.0.0.1:8888/.netlify/functions/identity-{event}"
    headers = signed_headers(
        event, body, instance_id, int(time.time()), settings.webhook_secrets[0], triggered=True
    )
    attempts = []
    for attempt in send(target, body, headers):
        attempts.append(attempt)
        if not as_json:
            _show(attempt)
    if as_json:
        print_json({"user_id": str(user), "body": body.decode(), "attempts": _documents(attempts)})
    else:
        _conclude(event, user, attempts[-1])
    sys.exit(0 if attempts[-1].accepted else 1)


def make_account(
    event: str,
    user_id: UUID,
    email: str,
    *,
    provider: str,
    name: str | None,
    data: dict[str, Any],
    app_data: dict[str, Any],
    confirmed: bool,
) -> Account:
    """Return the account as Identity would hold it at the moment of this event."""
    now = datetime.now(UTC).replace(microsecond=0)
    by_mail = confirmed and provider == "email" and event != "validate"
    known = event in ("login", "usermodified", "userdeleted")
    user_metadata = ({"full_name": name} if name else {}) | data
    return Account(
        id=user_id,
        email=email,
        app_metadata={"provider": provider} | app_data,
        user_metadata=user_metadata or None,
        confirmation_sent_at=now if by_mail else None,
        confirmed_at=now if known and confirmed else None,
        created_at=now,
        updated_at=now,
    )


def _show(attempt: Attempt) -> None:
    if attempt.error:
        click.secho(f"attempt {attempt.number}: {attempt.error}", fg="red")
        return
    colour = "green" if attempt.accepted else "red"
    click.secho(
        f"attempt {attempt.number}: {attempt.status}  ({attempt.duration_ms} ms)", fg=colour
    )
    if attempt.body:
        say(f"  {attempt.body.decode('utf-8', 'replace')}")


def _conclude(event: str, user_id: UUID, last: Attempt) -> None:
    if last.accepted:
        click.echo(f"Accepted. See: usher users show {user_id}")
    elif last.error:
        click.echo(f"Not delivered: Identity would answer the person's {event} with an error.")
    else:
        click.echo(f"Refused: Identity would answer the person's {event} with 422.")
    if last.status == 401:
        click.echo(
            "Are the secrets those of the server, and is --instance-id the one in use there?"
        )


def _documents(attempts: list[Attempt]) -> list[dict[str, Any]]:
    return [
        {
            "number": attempt.number,
            "status": attempt.status,
            "body": attempt.body.decode("utf-8", "replace"),
            "error": attempt.error,
            "duration_ms": attempt.duration_ms,
        }
        for attempt in attempts
    ]
