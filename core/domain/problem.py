"""The one shape of every error answer: RFC 9457 problem details with our ``code``. Pure."""

from __future__ import annotations

from typing import Any, Final

from usher.core.errors import InvalidInputError, UsherError

CONTENT_TYPE: Final = "application/problem+json"


def as_problem(error: UsherError) -> dict[str, Any]:
    """The document for an error: type, title, status, code, and detail where there is one.

    ``type`` is a URN; docs/errors.md describes every code. ``errors`` lists the faults of an input,
    each with its JSON pointer or query parameter.
    """
    document: dict[str, Any] = {
        "type": f"urn:usher:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
    }
    if error.detail and error.status < 500:  # our own faults are for the log
        document["detail"] = error.detail
    if isinstance(error, InvalidInputError):
        document["errors"] = [
            {"parameter" if where and where[0] != "/" else "pointer": where, "detail": what}
            for where, what in error.problems
        ]
    return document
