"""``POST /users``: somebody is invited through Identity, which asks our own policy first."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from usher.core.app import App
from usher.core.domain.documents import user_document
from usher.core.domain.events import email_key
from usher.core.errors import DeniedError, IdentityNotConfiguredError, IdentityRefusedError
from usher.core.strict_json import loads_object
from usher.core.webhooks import event_of
from usher.functions._shared.http import Response
from usher.functions._shared.operation import Access, Call, Input, Operation, json_response
from usher.functions.api_methods import schemas

PLAIN_ADDRESS: Final = r"^[^\s@]+@[^\s@]+$"


def _plain_address(text: str) -> str:
    if not re.search(PLAIN_ADDRESS, text):
        raise ValueError("must be one e-mail address, without spaces and without a name around it")
    return text


class Invitation(Input):
    """The person to invite."""

    email: Annotated[str, AfterValidator(_plain_address)] = Field(
        min_length=3, max_length=320, json_schema_extra={"pattern": PLAIN_ADDRESS}
    )
    data: dict[str, Any] = Field(default_factory=dict, description="Their user_metadata.")


def invite(call: Call) -> Response:
    """Have Identity invite somebody.

    Identity says of a refusal by its webhook only that there was one. Where that was ours, the
    ledger has what the policy said.
    """
    identity = call.app.identity
    if identity is None:
        raise IdentityNotConfiguredError("USHER_IDENTITY_URL is not set.")
    before = call.app.store.ledger.newest_sequence()
    try:
        invited = identity.invite(call.body.email, call.body.data)
    except IdentityRefusedError:
        sentence = _refusal_of(call.app, call.body.email, before)
        if sentence is None:
            raise
        raise DeniedError(sentence) from None
    user = call.app.store.users.invited(invited, call.principal.actor)
    return json_response(
        user_document(user, call.now),
        201,
        version=user.version,
        headers={"Location": f"{call.base}/users/{user.id}"},
    )


def _refusal_of(app: App, email: str, sequence: int) -> str | None:
    """The sentence of our newest refusal of an address, among the deliveries after this one."""
    key = email_key(email)
    for delivery in app.store.ledger.denied_after(sequence):
        event = event_of(delivery)
        if (
            event is not None
            and email_key(event.user.email) == key
            and delivery.reply.status == DeniedError.status  # not one given during an outage
        ):
            said: str = loads_object(delivery.reply.body.encode())["detail"]
            return said
    return None


OPERATIONS = (
    Operation(
        "POST",
        "/users",
        "Invite somebody through Identity",
        Access.ADMINISTRATOR,
        invite,
        schemas.User,
        status=201,
        body=Invitation,
        errors=(409, 503),
    ),
)
