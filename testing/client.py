"""A client that sends what Identity and browsers send, to the functions in this very process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from usher.core.app import App
from usher.emulator.hooks import apply_answer
from usher.emulator.payload import event_body
from usher.emulator.sender import SUCCESS, signed_headers
from usher.functions import api, identity
from usher.functions._shared.http import Request
from usher.testing.people import People, Someone, instance_of

WEBHOOK_SECRET: Final = b"signs the events of a test alone"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of Usher.

    Attributes:
        body: read as JSON; None: there is none.
    """

    status: int
    headers: Mapping[str, str]
    body: Any


class RefusedError(AssertionError):
    """Usher refused an event, so Identity refuses the person.

    Attributes:
        answer: to the event.
    """

    def __init__(self, event: str, answer: Answer) -> None:
        super().__init__(f"{event} was answered {answer.status}: {json.dumps(answer.body)}")
        self.answer = answer


class Client:
    """Sends signed events, as Identity does, and requests of the API, as a page does."""

    def __init__(self, app: App, people: People) -> None:
        self._app = app
        self._people = people

    def sign_up(
        self,
        email: str = "",
        *,
        user_metadata: Mapping[str, Any] | None = None,
        provider: str = "email",
    ) -> Someone:
        """Make an account: ``validate`` comes first, and ``signup`` once it is confirmed.

        Args:
            email: empty: one that nobody else has.
            user_metadata: what the person filled in, such as ``full_name``.
            provider: ``email``, ``google``, ``github`` and so on.

        Raises:
            RefusedError: the policy refuses the person.
        """
        someone = self._people.stranger(email, provider=provider, user_metadata=user_metadata)
        self._send("validate", someone)
        self._send("signup", someone)
        someone.account.confirm(self._app.clock())
        return someone

    def log_in(self, someone: Someone) -> None:
        """Log in: what Usher has for the person's metadata is in the next token.

        Raises:
            RefusedError: the person may not enter, or not now.
        """
        someone.account.updated_at = self._app.clock()
        self._send("login", someone)

    def modify(
        self,
        someone: Someone,
        *,
        email: str = "",
        user_metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Change an account, as its owner does.

        Args:
            email: empty: it stays.
            user_metadata: keys and their values; None removes a key.
        """
        account, now = someone.account, self._app.clock()
        account.email = email or account.email
        account.merge_user_metadata(user_metadata, now)
        self._send("usermodified", someone)

    def delete(self, someone: Someone) -> None:
        """Delete an account at Identity."""
        self._send("userdeleted", someone)

    def send(self, event: str, someone: Someone) -> Answer:
        """Send one event with the account as it is, and return the answer, a refusal as well."""
        instance_id, now = instance_of(self._app), self._app.clock()
        body = event_body(event, someone.account.account(), instance_id)
        [secret, *_] = self._app.settings.webhook_secrets
        headers = signed_headers(event, body, instance_id, int(now.timestamp()), secret)
        request = Request("POST", "/.netlify/functions/identity", _each(headers), body)
        answer = identity.hook.answer(request)
        if answer.status in SUCCESS and answer.body and event != "userdeleted":
            apply_answer(answer.body.encode(), someone.account, now)
        return Answer(answer.status, answer.all_headers(), _json(answer.body))

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: object = None,
    ) -> Answer:
        """Send one request of the API, such as ``GET /api/me``.

        Args:
            headers: ``ada.headers`` for a person who is signed in.
            json: the body, if any.
        """
        path, _, query = path.partition("?")
        body = b"" if json is None else _text(json)
        sent = {**({"Content-Type": "application/json"} if body else {}), **(headers or {})}
        answer = api.answer(Request(method, path, _each(sent), body, query))
        return Answer(answer.status, answer.all_headers(), _json(answer.body))

    def _send(self, event: str, someone: Someone) -> None:
        answer = self.send(event, someone)
        if answer.status not in SUCCESS:
            raise RefusedError(event, answer)


def _each(headers: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {name.lower(): (value,) for name, value in headers.items()}


def _text(value: object) -> bytes:
    return json.dumps(value).encode()


def _json(text: str) -> Any:
    return json.loads(text) if text else None
