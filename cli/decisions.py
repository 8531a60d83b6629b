"""Decisions, and the failures of a callable policy, as commands show them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from usher.cli.output import say
from usher.core.app import App
from usher.core.domain.differences import reply_in_words
from usher.core.domain.records import Decision, Delivery, Outcome
from usher.core.errors import DeliveryNotFoundError, PolicyError
from usher.core.faults import in_full

_BAD: Final = frozenset({Outcome.DENIED, Outcome.FAILED})


def find_event(app: App, prefix: str) -> Delivery:
    """The event of the instance in use whose id begins with ``prefix``.

    Raises:
        DeliveryNotFoundError: there is none, there are several, or it is of another instance.
    """
    try:
        return app.store.ledger.find(prefix)
    except DeliveryNotFoundError:
        other = app.store.ledger.find(prefix, of_any=True)
        raise DeliveryNotFoundError(
            f"This event is of another Identity instance, {other.instance_id}, and decides nothing "
            "here. See: usher instance"
        ) from None


def show_decision(begin: str, decision: Decision) -> None:
    """Print a decision and its reasons."""
    style = "red" if decision.outcome in _BAD else "green"
    say(f"{begin} {decision.outcome}: {reply_in_words(decision.reply)}", fg=style)
    for reason in decision.reasons:
        say(f"  {reason.rule:<32} {reason.text}")


@contextmanager
def told_in_full() -> Iterator[None]:
    """Print the traceback of a callable policy before the sentence that ends the command."""
    try:
        yield
    except PolicyError as error:
        print_traceback(error)
        raise


def print_traceback(error: PolicyError) -> None:
    """Print the traceback of what a callable policy raised, on standard error."""
    for line in in_full(error).splitlines():
        say(line, err=True)
