"""The consumer behind a sink: each change is one signed webhook."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from usher.core import log
from usher.core.domain.outbox import Change
from usher.core.domain.sinks import Sink, webhook
from usher.core.errors import WebhookError
from usher.core.outbox.consumer import Done, Failed, Gone, Result
from usher.core.outbox.webhook_http import Answer

if TYPE_CHECKING:
    from usher.core.outbox.sinks import Sinks

GONE: Final = 410
SECONDS: Final = 15.0
"""For one webhook."""
MAX_RETRY_AFTER_SECONDS: Final = 6 * 3_600
"""A receiver that names a later time is asked again after this."""
_DIGITS: Final = 9


class WebhookSender:
    """Hands changes over to one sink.

    The sink is read anew for each change, so that a secret, a pause or a removal counts at once.

    Args:
        limit: gives the seconds that a webhook may take now.
    """

    def __init__(self, sink: Sink, sinks: Sinks, limit: Callable[[], float]) -> None:
        self.name = sink.consumer
        self.patterns = frozenset(sink.kinds)
        self.seconds = SECONDS
        self._id = sink.id
        self._sinks = sinks
        self._limit = limit

    def hand_over(self, change: Change) -> Result:
        """See ``Consumer``."""
        sink = self._sinks.find(self._id)
        if sink is None or sink.paused_at is not None:
            return Gone("the sink was removed" if sink is None else "the sink is paused")
        try:
            body = webhook(change, full=sink.full)
            answer = self._sinks.send(sink, change.id, body, min(SECONDS, self._limit()))
        except WebhookError as error:
            return Failed(error.detail)
        if answer.status == GONE:
            self._sinks.pause_gone(sink)
            log.get_logger().warning("sink.gone", sink=str(sink.id))
            return Gone(problem_of(answer))
        if problem := problem_of(answer):
            return Failed(problem, retry_after(answer.retry_after, self._sinks.now()))
        return Done()


def problem_of(answer: Answer) -> str:
    """The words for an answer that takes no webhook; empty: it does."""
    if 200 <= answer.status < 300:
        return ""
    redirects = 300 <= answer.status < 400
    return f"answered {answer.status}{'; redirects are not followed' if redirects else ''}"


def retry_after(text: str, now: datetime) -> float | None:
    """The seconds that a header ``Retry-After`` asks for, within bounds; None: none."""
    if text.isascii() and text.isdecimal() and len(text) <= _DIGITS:
        seconds = float(text)
    else:
        try:
            seconds = (parsedate_to_datetime(text).astimezone(now.tzinfo) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER_SECONDS)
