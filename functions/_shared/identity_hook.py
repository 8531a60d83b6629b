"""The six identity functions: check a request, run the pipeline, render the answer.

``handle`` takes a platform's event, ``answer`` one request. The server, which commits many in one
commit, calls the parts: ``prepare`` for each, ``Webhooks.process`` for the batch, ``conclude`` for
each result.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from usher.core import app
from usher.core.bounds import MAX_EVENT_BYTES
from usher.core.domain.events import EventName
from usher.core.domain.reply import NO_CONTENT, Reply
from usher.core.errors import SignatureError, UsherError
from usher.core.webhooks import Received, Verified
from usher.functions._shared.failure import failure, hidden
from usher.functions._shared.http import Event, Request, Response

SIGNATURE_HEADER: Final = "x-webhook-signature"
EVENT_HEADER: Final = "x-netlify-event"
"""Names the event, beside all that Identity sends since March 2026; nothing signs it."""
_OBSERVED: Final = Response(NO_CONTENT.status)
"""The answer to every event in observe mode."""


class IdentityHook(Struct, frozen=True):
    """One hook URL.

    Attributes:
        expected: the only event it takes; None: any, by the name in the signed body.
    """

    expected: EventName | None = None

    def handle(self, event: Event) -> dict[str, Any]:
        """Answer one delivery in a platform's form."""
        try:
            request = Request.from_event(event)
        except Exception as error:
            return failure(error).to_dict()
        return self.answer(request).to_dict(request.method)

    def answer(self, request: Request) -> Response:
        """Answer one delivery. Its data is committed when this returns."""
        prepared = self.prepare(request)
        if isinstance(prepared, Verified):
            usher = app.current()
            answer = self.conclude(usher.webhooks.process([prepared])[0])
            usher.flush_oversized()
            return answer
        return prepared

    def prepare(self, request: Request) -> Verified | Response:
        """Return the verified delivery, or the answer to a bad request. Touches no database."""
        try:
            usher = app.current()
            limit = usher.settings.max_body_bytes
            if len(request.body) > limit and self.vouches(request):
                limit = max(limit, MAX_EVENT_BYTES)
            request.require_size(limit)
            request.require_method("POST")
            request.require_json()
            return usher.webhooks.verify(
                Received(
                    signatures=request.headers.get(SIGNATURE_HEADER, ()),
                    body=request.body,
                    path=request.path,
                    expected=self.expected,
                    at=usher.clock(),
                    named=EVENT_HEADER in request.headers,
                )
            )
        except Exception as error:
            return self.unread(request, error)

    def unread(self, request: Request, error: Exception) -> Response:
        """Return the answer to a request that was not verified whole, as for its size.

        In observe mode a good signature is answered 204 even so.
        """
        answer = failure(error)
        if isinstance(error, SignatureError) or not self.vouches(request):
            return answer
        return _OBSERVED if app.current().settings.observes else answer

    def vouches(self, request: Request) -> bool:
        """Whether the headers show a good signature of an event; nothing is said of its body."""
        try:
            usher = app.current()
            request.require_method("POST")
            request.require_json()
            usher.webhooks.verify_claims(request.headers.get(SIGNATURE_HEADER, ()), usher.clock())
        except UsherError:
            return False
        return True

    def conclude(self, result: Reply | Exception) -> Response:
        """Return the answer for a result of the pipeline, which has logged it."""
        if app.current().settings.observes:
            return _OBSERVED
        if isinstance(result, Exception):
            return hidden(result)
        return Response(result.status, result.body, result.content_type)
