"""``usher sinks``: receivers of changes by webhook."""

from __future__ import annotations

import sys
from typing import IO
from uuid import UUID

import click

from usher.cli.environment import actor, opened
from usher.cli.ids import read_id
from usher.cli.output import json_option, moment, print_json, print_table, reason_option, say
from usher.core.domain.sinks import ROTATION_HOURS, Sink, sink_document, trial_document
from usher.core.errors import SinkNotFoundError

sink_argument = click.argument("sink", metavar="ID")
secret_option = click.option(
    "--secret-file",
    type=click.File(),
    help="A file with a secret of your own, whsec_…; - reads it from standard input.",
)


@click.group()
def sinks() -> None:
    """Hand changes of people over to other systems, as signed webhooks."""


@sinks.command()
@click.argument("url")
@click.option(
    "--changes",
    "kinds",
    multiple=True,
    default=("*",),
    show_default=True,
    help="A kind of change: user.created, 'user.*' or '*'; may be repeated.",
)
@click.option("--full", is_flag=True, help="Send the person and what differs, not ids alone.")
@secret_option
@json_option
def add(
    url: str, kinds: tuple[str, ...], full: bool, secret_file: IO[str] | None, as_json: bool
) -> None:
    """Add a sink, and print its secret, which cannot be shown again."""
    own = _read(secret_file)
    with opened() as app:
        sink, secret = app.sinks.add(url, kinds, actor(), full=full, secret=own)
        now = app.clock()
    if as_json:
        print_json({**sink_document(sink, now), "secret": secret})
        return
    click.echo(secret)
    say(
        f"The sink {sink.id} gets the changes from now on. Its secret stands above, and cannot be "
        f"shown again. Try it: usher sinks test {sink.id}",
        err=True,
    )


@sinks.command("list")
@json_option
def list_sinks(as_json: bool) -> None:
    """List the sinks, the oldest first."""
    with opened() as app:
        found = app.sinks.all()
        now = app.clock()
    if as_json:
        print_json({"sinks": [sink_document(sink, now) for sink in found]})
        return
    print_table(
        ("id", "state", "changes", "sends", "added (UTC)", "by", "URL"),
        (
            (
                sink.id,
                _state(sink),
                ", ".join(sink.kinds),
                "everything" if sink.full else "ids",
                moment(sink.created_at),
                sink.created_by,
                sink.url,
            )
            for sink in found
        ),
        "No sinks yet. Try: usher sinks add https://crm.example/hook --changes 'user.*'",
    )


@sinks.command()
@sink_argument
@json_option
def show(sink: str, as_json: bool) -> None:
    """Show one sink; never its secret."""
    with opened() as app:
        found = app.sinks.get(_id(sink))
        now = app.clock()
    if as_json:
        print_json(sink_document(found, now))
        return
    old = found.old_secret_until(now)
    paused = f"{moment(found.paused_at)} by {found.paused_by}" if found.paused_at else "-"
    for label, value in (
        ("id", found.id),
        ("URL", found.url),
        ("state", _state(found)),
        ("changes", ", ".join(found.kinds)),
        ("sends", "everything" if found.full else "ids"),
        ("added", f"{moment(found.created_at)} by {found.created_by}"),
        ("paused", paused),
        ("old secret", f"signs until {moment(old)}" if old else "-"),
    ):
        say(f"{label:<10} {value}")


@sinks.command()
@sink_argument
@json_option
def test(sink: str, as_json: bool) -> None:
    """Send a webhook of the type sink.test; exits with 1 where it was not delivered."""
    with opened() as app:
        trial = app.sinks.test(_id(sink))
    if as_json:
        print_json(trial_document(trial))
    elif trial.problem:
        say(f"Not delivered: {trial.problem}.", err=True, fg="red")
    else:
        say(f"Delivered: the receiver answered {trial.status} after {trial.elapsed_ms} ms.")
    if trial.problem:
        sys.exit(1)


@sinks.command()
@sink_argument
@click.option("--now", is_flag=True, help="End the secrets from before at once.")
@secret_option
@json_option
def rotate(sink: str, now: bool, secret_file: IO[str] | None, as_json: bool) -> None:
    """Give a sink a new secret, and print it. The one before signs beside it for a day."""
    own = _read(secret_file)
    with opened() as app:
        found, secret = app.sinks.rotate(_id(sink), actor(), secret=own, at_once=now)
        at = app.clock()
    if as_json:
        print_json({**sink_document(found, at), "secret": secret})
        return
    click.echo(secret)
    old = "No other one signs any more" if now else f"The old one signs for {ROTATION_HOURS} hours"
    say(f"The new secret stands above, and cannot be shown again. {old}.", err=True)


@sinks.command()
@sink_argument
@reason_option
@json_option
def pause(sink: str, reason: str, as_json: bool) -> None:
    """Pause a sink: its changes wait until it is resumed."""
    with opened() as app:
        found = app.sinks.pause(_id(sink), actor(), reason)
        now = app.clock()
    _tell(found, as_json, sink_document(found, now), "is paused; its changes wait")


@sinks.command()
@sink_argument
@json_option
def resume(sink: str, as_json: bool) -> None:
    """Hand changes over to a paused sink again, beginning with those that wait."""
    with opened() as app:
        found = app.sinks.resume(_id(sink), actor())
        now = app.clock()
    _tell(found, as_json, sink_document(found, now), "gets changes again")


@sinks.command()
@sink_argument
def remove(sink: str) -> None:
    """Remove a sink, and the changes that wait for it."""
    with opened() as app:
        found = _id(sink)
        app.sinks.remove(found, actor())
    say(f"The sink {found} is removed.")


def _state(sink: Sink) -> str:
    return "paused" if sink.paused_at else "active"


def _tell(sink: Sink, as_json: bool, document: dict[str, object], words: str) -> None:
    if as_json:
        print_json(document)
    else:
        say(f"The sink {sink.id} {words}.")


def _read(file: IO[str] | None) -> str:
    return file.read().strip() if file else ""


def _id(text: str) -> UUID:
    return read_id(text, "sink", SinkNotFoundError)
