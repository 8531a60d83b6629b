"""What the six identity functions do: check the request, hand it to the pipeline, render."""

from __future__ import annotations

import traceback
from typing import Any

from core import app
from core.errors import SettingsError, UsherError
from core.events import EventName
from core.log import get_logger
from core.webhooks import Received
from functions._shared.http import Event, Request, Response, problem_response

SIGNATURE_HEADER = "x-webhook-signature"


def receive(event: Event, expected: EventName | None = None) -> dict[str, Any]:
    """Answer one delivery.

    Args:
        event: the platform's request.
        expected: the only event taken; None: any, by the name in its signed body.
    """
    try:
        usher = app.current()
        request = Request.from_event(event)
        request.require("POST", usher.settings.max_body_bytes)
        answer = usher.webhooks.receive(
            Received(
                signatures=request.headers.get(SIGNATURE_HEADER, ()),
                body=request.body,
                path=request.path,
                expected=expected,
                at=usher.clock(),
            )
        )
        return Response(answer.status, answer.body, answer.content_type).to_dict()
    except SettingsError as error:
        log_failure(error)
        return problem_response(UsherError("The server is not configured.")).to_dict()
    except UsherError as error:
        return problem_response(error).to_dict()
    except Exception as error:
        log_failure(error)
        return problem_response(UsherError()).to_dict()


def log_failure(error: BaseException) -> None:
    """Log where an unexpected error came from; its message is left out, it may hold anything."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    get_logger().error(
        "request.failed",
        error=type(error).__name__,
        where=[f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in frames],
    )
