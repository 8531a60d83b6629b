"""Changes handed to a project's own handlers, in this very process and without a wait."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from msgspec import structs

from usher.core.app import App
from usher.core.domain.outbox import HANDLER, Change, Write
from usher.core.domain.outbox_attempts import LONGEST_BACK_OFF
from usher.core.domain.outbox_queue import SETTLING
from usher.core.errors import UsherError
from usher.core.outbox.calls import call
from usher.core.outbox.consumer import Done, Failed
from usher.core.outbox.dispatcher import Dispatcher
from usher.core.outbox.handlers import Handler
from usher.core.store.complete import Complete
from usher.core.store.database import Transaction
from usher.core.store.outbox import Queue

MOST_CALLS: Final = 10_000
"""Calls by one ``hand_over``, beyond which handlers seem to cause their own changes."""
AGAIN: Final = 1.2 * LONGEST_BACK_OFF
"""After this time everything that failed is due again."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """One call of a handler.

    Attributes:
        handler: its name, such as ``mysite.hooks.open_account``.
        write: what it returned.
        error: what it raised; it gets the change again.
    """

    handler: str
    change: Change
    write: Write | None = None
    error: Exception | None = None


class HandlerError(AssertionError):
    """A handler returned what is no ``Write``, or one that is refused."""


class Changes(Sequence[HandedOver]):
    """All calls of handlers in this test, the oldest first.

    Everything else is as on a server: one change after the other for each person and handler, what
    failed is tried again, and a ``Write`` goes into the record.
    """

    def __init__(self, app: App, handlers: Sequence[Handler]) -> None:
        self._app = app
        self._calls: list[HandedOver] = []
        self._ahead = SETTLING
        self._failing = False
        queue = Queue(app.store.database)
        self._dispatchers = []
        for handler in handlers:
            consumer = _Recording(handler, self._calls)
            queue.begin(consumer.name, 0, app.clock(), consumer.patterns)
            self._dispatchers.append(
                Dispatcher(
                    queue,
                    Complete(app.store.database),
                    consumer,
                    self._later,
                    uuid4(),
                    apply=self._write,
                )
            )

    def hand_over(self) -> list[HandedOver]:
        """Hand over what was committed since, and what failed before.

        Returns:
            The calls that this made.

        Raises:
            Exception: what a handler raised. All others got their changes even so, and the change
                is tried again by the next call.
            HandlerError: a handler's answer is refused; or handlers answer each other without end.
        """
        __tracebackhide__ = True
        begun = len(self._calls)
        self._ahead += AGAIN if self._failing else timedelta()
        while any(self._has_worked(each, begun) for each in self._dispatchers):
            pass  # one may have got what another one wrote
        made = self._calls[begun:]
        errors = [one.error for one in made if one.error is not None]
        self._failing = bool(errors)
        if errors:
            raise errors[0]
        return made

    def _write(self, transaction: Transaction, name: str, change: Change, write: Write) -> None:
        """Write what the handler of the newest call returned; a refusal counts as its failure."""
        try:
            self._app.store.users.write_of_handler(transaction, name, change, write)
        except UsherError as refused:
            error = HandlerError(f"{self._calls[-1].handler} may not write that: {refused.detail}")
            self._calls[-1] = replace(self._calls[-1], error=error)
            raise

    def _has_worked(self, dispatcher: Dispatcher, begun: int) -> bool:
        """Hand over all that is due to one handler, and say whether there was any."""
        __tracebackhide__ = True
        worked = False
        while (turn := dispatcher.turn()).worked or turn.more:
            worked = True
            if len(self._calls) - begun > MOST_CALLS:
                names = sorted({one.handler for one in self._calls[-100:]})
                raise HandlerError(
                    f"{MOST_CALLS:,} calls, and no end: what {', '.join(names)} cause is handed "
                    "over to handlers again."
                )
        return worked

    def __len__(self) -> int:
        """How many calls there were."""
        return len(self._calls)

    def __getitem__(self, index: Any) -> Any:
        """One call, or some of them."""
        return self._calls[index]

    def __repr__(self) -> str:
        """The calls, for a failed comparison."""
        return repr(self._calls)

    def _later(self) -> datetime:
        """The time at which everything is due that waits for nothing but time."""
        return self._app.clock() + self._ahead


class _Recording:
    """A handler as a consumer, which notes each call; see ``usher.core.outbox.consumer``."""

    def __init__(self, handler: Handler, calls: list[HandedOver]) -> None:
        self.name = HANDLER + handler.name
        self.patterns = handler.patterns
        self.seconds = handler.seconds
        self._handler = handler
        self._calls = calls

    def hand_over(self, change: Change) -> Done | Failed:
        raised: list[Exception] = []

        def noting(change: Change) -> object:
            try:
                answer = self._handler.function(change)
                return _run(answer) if inspect.iscoroutine(answer) else answer
            except Exception as error:
                error.add_note(f"in {self._handler.name}, with the {change.kind} {change.id}")
                raised.append(error)
                raise

        result = call(structs.replace(self._handler, function=noting), change)
        error = raised[0] if raised else None
        if error is None and isinstance(result, Failed):
            error = HandlerError(f"{self._handler.name} {result.error}")
        write = result.write if isinstance(result, Done) else None
        self._calls.append(HandedOver(self._handler.name, change, write, error))
        return result


def _run(answer: Coroutine[Any, Any, object]) -> object:
    """The result of an asynchronous handler, also where the test itself is asynchronous."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(answer)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, answer).result()
