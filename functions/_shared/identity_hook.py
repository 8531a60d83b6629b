"""What the six identity functions are: check the request, hand it to the pipeline, render.

``handle`` is the edge to a platform. ``answer`` does it all for one request. A server that gathers
many into one commit calls the parts: ``prepare`` for each, ``Webhooks.process`` for the batch,
``conclude`` for each result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from usher.core import app
from usher.core.domain.events import EventName
from usher.core.domain.reply import Reply
from usher.core.webhooks import Received, Verified
from usher.functions._shared.failure import failure, hidden
from usher.functions._shared.http import Event, Request, Response

SIGNATURE_HEADER: Final = "x-webhook-signature"


@dataclass(frozen=True, slots=True)
class IdentityHook:
    """One hook URL; ``expected`` is the only event it takes, None: any, by its signed name."""

    expected: EventName | None = None

    def handle(self, event: Event) -> dict[str, Any]:
        """Answer one delivery, in the form of a platform's functions."""
        try:
            request = Request.from_event(event)
        except Exception as error:
            return failure(error).to_dict()
        return self.answer(request).to_dict(request.method)

    def answer(self, request: Request) -> Response:
        """Answer one delivery; its data is committed when this returns."""
        prepared = self.prepare(request)
        if isinstance(prepared, Verified):
            return self.conclude(app.current().webhooks.process([prepared])[0])
        return prepared

    def prepare(self, request: Request) -> Verified | Response:
        """The verified delivery, or the answer to a request that is none. Touches no database."""
        try:
            usher = app.current()
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
            return failure(error)

    def conclude(self, result: Reply | Exception) -> Response:
        """The answer to a delivery that was processed, or failed to be; the pipeline logged it."""
        if isinstance(result, Exception):
            return hidden(result)
        return Response(result.status, result.body, result.content_type)
