"""Errors as answers. Details of faults on our side go to the log only."""

from __future__ import annotations

from usher.core import app
from usher.core.errors import BodyTooLargeError, FeedFullError, SignatureError, UsherError
from usher.core.log import describe, get_logger
from usher.functions._shared.http import Response, problem_response


def failure(error: Exception) -> Response:
    """Return the answer to a failed request, and log it where the fault is ours."""
    if isinstance(error, FeedFullError):
        pass  # told already, once a minute: those who are refused ask again and again
    elif not isinstance(error, UsherError) or error.status >= 500:
        get_logger().error("request.failed", **describe(error))
    elif isinstance(error, BodyTooLargeError):
        get_logger().warning("request.too_large", limit_bytes=error.limit_bytes)
        app.current().oversized.count(error)
    elif isinstance(error, SignatureError) and error.mark:
        app.current().oversized.count_marked(error.mark)
    return hidden(error)


def hidden(error: Exception) -> Response:
    """Return the answer alone, for an error that was logged already."""
    return problem_response(error if isinstance(error, UsherError) else UsherError())
