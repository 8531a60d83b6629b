"""The one shape of every error that a caller reads: RFC 9457 problem details with our ``code``."""

from __future__ import annotations

from typing import Any, Final

from usher.core.errors import InvalidInputError, UsherError

CONTENT_TYPE: Final = "application/problem+json"


def as_problem(error: UsherError) -> dict[str, Any]:
    """The document for an error: type, title, status, code, and detail where there is one.

    ``type`` is a URN; docs/errors.md describes every code. What breaks a model is listed in
    ``errors``, each with the JSON pointer or the query parameter that is at fault.
    """
    document: dict[str, Any] = {
        "type": f"urn:usher:error:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.code,
    }
    if error.detail and error.status < 500:  # what is wrong on our side is for the log
        document["detail"] = error.detail
    if isinstance(error, InvalidInputError):
        document["errors"] = [
            {"parameter" if where and where[0] != "/" else "pointer": where, "detail": what}
            for where, what in error.problems
        ]
    return document
