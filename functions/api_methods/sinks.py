"""``/sinks``: receivers of changes by webhook, kept by administrators."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from usher.core.bounds import MAX_SINK_URL_CHARACTERS
from usher.core.domain.sinks import Sink, sink_document, trial_document
from usher.core.errors import SinkNotFoundError
from usher.functions._shared.http import Response
from usher.functions._shared.operation import Access, Call, Input, Operation, Reason, json_response
from usher.functions.api_methods import schemas

_SECRET = Field(
    "",
    max_length=120,
    description="Your own: whsec_ and base64 of 24 to 64 bytes; empty: Usher makes it.",
)


class SinkWanted(Input):
    """A sink to be added."""

    url: str = Field(max_length=MAX_SINK_URL_CHARACTERS, description="https://host/path.")
    changes: list[str] = Field(
        default=["*"], max_length=20, description="Kinds: user.created, user.* or *."
    )
    full: bool = Field(False, description="Send the person and what differs, not ids alone.")
    secret: str = _SECRET


class Rotation(Input):
    """A new secret."""

    secret: str = _SECRET
    now: bool = Field(False, description="End the secrets from before at once; else after a day.")


class Pause(Input):
    """Why a sink is paused."""

    reason: Reason = ""


def list_sinks(call: Call) -> Response:
    """Return all sinks, the oldest first; there are never many."""
    found = call.app.sinks.all()
    return json_response({"sinks": [sink_document(sink, call.now) for sink in found]})


def add(call: Call) -> Response:
    """Add a sink. Its secret is told in this answer alone."""
    body: SinkWanted = call.body
    sink, secret = call.app.sinks.add(
        body.url, body.changes, call.principal.actor, full=body.full, secret=body.secret
    )
    return _with_secret(call, sink, secret, 201)


def read(call: Call) -> Response:
    """Return one sink."""
    return _answer(call, call.app.sinks.get(_id(call)))


def remove(call: Call) -> Response:
    """Remove a sink, and the changes that wait for it."""
    call.app.sinks.remove(_id(call), call.principal.actor)
    return Response(204)


def test(call: Call) -> Response:
    """Send a webhook for trial, and return what came of it."""
    return json_response(trial_document(call.app.sinks.test(_id(call))))


def rotate(call: Call) -> Response:
    """Give a sink a new secret, which is told in this answer alone."""
    body: Rotation = call.body
    sink, secret = call.app.sinks.rotate(
        _id(call), call.principal.actor, secret=body.secret, at_once=body.now
    )
    return _with_secret(call, sink, secret)


def pause(call: Call) -> Response:
    """Let the changes for a sink wait."""
    body: Pause = call.body
    return _answer(call, call.app.sinks.pause(_id(call), call.principal.actor, body.reason))


def resume(call: Call) -> Response:
    """Hand changes over to a sink again."""
    return _answer(call, call.app.sinks.resume(_id(call), call.principal.actor))


def _answer(call: Call, sink: Sink) -> Response:
    return json_response(sink_document(sink, call.now))


def _with_secret(call: Call, sink: Sink, secret: str, status: int = 200) -> Response:
    return json_response({**sink_document(sink, call.now), "secret": secret}, status)


def _id(call: Call) -> UUID:
    return call.id_of("sink", "sink", SinkNotFoundError)


_ADMIN = Access.ADMINISTRATOR
_ONE = "/sinks/{sink}"
_UNKNOWN = (404,)
OPERATIONS = (
    Operation("GET", "/sinks", "Sinks", _ADMIN, list_sinks, schemas.SinkList),
    Operation(
        "POST", "/sinks", "Add a sink", _ADMIN, add, schemas.SinkWithSecret, 201, body=SinkWanted
    ),
    Operation("GET", _ONE, "One sink", _ADMIN, read, schemas.Sink, errors=_UNKNOWN),
    Operation("DELETE", _ONE, "Remove a sink", _ADMIN, remove, None, 204, errors=_UNKNOWN),
    Operation(
        "POST", f"{_ONE}/test", "Try a sink", _ADMIN, test, schemas.SinkTrial, errors=_UNKNOWN
    ),
    Operation(
        "POST",
        f"{_ONE}/rotate",
        "Give a sink a new secret",
        _ADMIN,
        rotate,
        schemas.SinkWithSecret,
        body=Rotation,
        body_optional=True,
        errors=_UNKNOWN,
    ),
    Operation(
        "POST",
        f"{_ONE}/pause",
        "Pause a sink",
        _ADMIN,
        pause,
        schemas.Sink,
        body=Pause,
        body_optional=True,
        errors=_UNKNOWN,
    ),
    Operation(
        "POST", f"{_ONE}/resume", "Resume a sink", _ADMIN, resume, schemas.Sink, errors=_UNKNOWN
    ),
)
