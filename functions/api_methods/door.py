"""``/door``: why the policy refused somebody's sign-up. Public, where it is switched on."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from usher.core.bounds import MAX_EMAIL_CHARACTERS
from usher.core.domain.events import can_be_looked_up, is_text
from usher.core.door import ANSWER_SECONDS, render
from usher.functions._shared.http import Response
from usher.functions._shared.operation import Access, Call, Input, Operation
from usher.functions.api_methods import schemas

HEADERS: Final = {"Cache-Control": "no-store, no-transform"}
"""Compressed by a proxy, answers would differ in size."""


def _one_address(text: str) -> str:
    text = text.strip()
    if not (is_text(text) and text.isprintable() and "@" in text and can_be_looked_up(text)):
        raise ValueError(f"must be one e-mail address of at most {MAX_EMAIL_CHARACTERS} characters")
    return text


class Question(Input):
    """The address with which somebody tried to sign up."""

    email: Annotated[str, AfterValidator(_one_address)] = Field(
        max_length=MAX_EMAIL_CHARACTERS, description="As it was given to Identity."
    )


def ask(call: Call) -> Response:
    """Tell why; the answer's size and moment are the same whatever it tells."""
    door = call.app.door
    door.count(call.network)
    message = door.why(call.body.email)
    return Response(200, render(message), "application/json", HEADERS, ANSWER_SECONDS)


OPERATIONS = (
    Operation(
        "POST",
        "/door",
        "Why a sign-up was refused",
        Access.PUBLIC,
        ask,
        schemas.DoorAnswer,
        body=Question,
        errors=(429,),
        setting="door",
    ),
)
