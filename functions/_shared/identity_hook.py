"""What the six identity functions are: check the request, hand it to the pipeline, render.

``answer`` does it all for one request. A server that gathers many into one commit calls the parts:
``prepare`` for each, ``Webhooks.process`` for the batch, ``conclude`` for each result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from usher.core import app
from usher.core.domain.events import EventName
from usher.core.domain.reply import Reply
from usher.core.webhooks import Received, Verified
from usher.functions._shared.failure import failure, hidden
from usher.functions._shared.http import Event, Request, Response, bodiless

SIGNATURE_HEADER: Final = "x-webhook-signature"


@dataclass(frozen=True, slots=True)
class IdentityHook:
    """One hook URL; ``expected`` is the only event it takes, None: any, by its signed name."""

    expected: EventName | None = None

    def answer(self, event: Event) -> dict[str, Any]:
        """Answer one delivery; its data is committed when this returns."""
        prepared = self.prepare(event)
        if isinstance(prepared, Verified):
            return self.conclude(app.current().webhooks.process([prepared])[0])
        return bodiless(prepared) if event.get("httpMethod") == "HEAD" else prepared

    def prepare(self, event: Event) -> Verified | dict[str, Any]:
        """The verified delivery, or the answer to a request that is none. Touches no database."""
        try:
            usher = app.current()
            request = Request.from_event(event)
            request.require_size(usher.settings.max_body_bytes)
            request.require_method("POST")
            request.require_json()
            return usher.webhooks.verify(
                Received(
                    signatures=request.headers.get(SIGNATURE_HEADER, ()),
                    body=request.body,
                    path=request.path,
                    expected=self.expected,
                    at=usher.clock(),
                )
            )
        except Exception as error:
            return failure(error).to_dict()

    def conclude(self, result: Reply | Exception) -> dict[str, Any]:
        """The answer to a delivery that was processed, or failed to be; the pipeline logged it."""
        if isinstance(result, Exception):
            return hidden(result).to_dict()
        return Response(result.status, result.body, result.content_type).to_dict()
