"""``/health``: whether the function runs. Public."""

from __future__ import annotations

from usher.functions._shared.http import Response
from usher.functions._shared.operation import Access, Call, Operation, json_response
from usher.functions.api_methods import schemas


def read(_call: Call) -> Response:
    """Answer that the function runs; nothing else is checked."""
    return json_response({"status": "ok"})


OPERATIONS = (
    Operation("GET", "/health", "Whether the API runs", Access.PUBLIC, read, schemas.Health),
)
