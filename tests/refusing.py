"""A consumer that takes nothing, so that changes wait in the outbox."""

from __future__ import annotations

from uuid import uuid4

from msgspec import Struct

from usher.core.app import App
from usher.core.domain.outbox import Change
from usher.core.outbox.consumer import Done, Failed, Result

NAME = "handler:site.bill"
ERROR = "ValueError at site.py:7"


class Refusing(Struct):
    """Fails at every change, or takes all."""

    name: str = NAME
    patterns: frozenset[str] = frozenset({"role.*"})
    seconds: float = 5.0
    takes: bool = False

    def hand_over(self, change: Change) -> Result:
        """Do not take it, or do."""
        del change
        return Done() if self.takes else Failed(ERROR)


def refuse(app: App, *, takes: bool = False) -> None:
    """Hand over what is to be handed over; the first time it begins here."""
    dispatcher = app.dispatcher(Refusing(takes=takes), uuid4())
    for _ in range(20):
        turn = dispatcher.turn()
        if not (turn.worked or turn.more):
            return
    raise AssertionError("it does not end")
