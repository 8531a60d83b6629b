"""AWS Lambda: function URLs, HTTP APIs (both payload formats) and REST APIs of API Gateway.

What a platform did to the request is undone here, so that every address, header and byte reaches
the functions as over the server. Settings come from the environment alone. What is not needed is
not loaded; before a SnapStart snapshot everything is, for it costs nobody any time then.

Which platform decodes the path, and how it joins headers: docs/deploy.md, "AWS Lambda".
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Protocol
from urllib.parse import unquote

from usher.core import app
from usher.core.app import App
from usher.core.errors import RequestError, SettingsError
from usher.core.log import describe, get_logger
from usher.functions._shared.failure import failure
from usher.functions._shared.http import Request, read_body
from usher.server import routes

FUNCTION_URL: Final = ".lambda-url."
NO_DISK: Final = (
    "USHER_DATABASE_URL is a SQLite file. Lambda has no disk that stays, so what was answered "
    "would be lost: use postgresql+psycopg://"
)
SPARE_MS: Final = 5_000
"""Maintenance ends so long before Lambda would end it."""


class Context(Protocol):
    """What Lambda says of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Until Lambda ends it."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Answer one HTTP request, or do maintenance where asked by ``{"usher": "maintenance"}``.

    Raises:
        RequestError: an event of something else, such as a queue.
    """
    if event.get("usher") == "maintenance":
        return _maintenance(context)
    request = read_request(event)
    try:
        _usher()
        answer = routes.answer(request)
    except Exception as error:
        answer = failure(error)
    return answer.to_dict(request.method)


def read_request(event: Mapping[str, Any]) -> Request:
    """The request that an event is.

    Raises:
        RequestError: it is no HTTP request, or its base64 body is none.
    """
    about = event.get("requestContext") or {}
    if event.get("version") == "2.0" and "http" in about:
        method = about["http"]["method"]
        headers = {name.lower(): (value,) for name, value in (event.get("headers") or {}).items()}
        if event.get("cookies"):
            headers["cookie"] = ("; ".join(event["cookies"]),)
        return Request(
            method=method,
            path=_path(event["rawPath"], about, FUNCTION_URL in about.get("domainName", "")),
            headers=headers,
            body=read_body(event, method),
            query=event.get("rawQueryString") or "",
        )
    if "httpMethod" in event:
        path = _path(event["path"], about, "version" not in event)
        return replace(Request.from_event(event), path=path)
    raise RequestError("The event is no HTTP request of a function URL or an API Gateway.")


def _path(path: str, about: Mapping[str, Any], encoded: bool) -> str:
    """The path without the stage, decoded once.

    Args:
        encoded: REST APIs and function URLs leave that to us, and have no stage in it.
    """
    if encoded:
        return unquote(path)
    stage = f"/{about.get('stage', '')}"
    return path.removeprefix(stage) if path.startswith(f"{stage}/") else path


def _usher() -> App:
    """The App.

    Raises:
        SettingsError: unusable, or with a database that Lambda would lose.
    """
    usher = app.current()
    if usher.settings.database_scheme == "sqlite":
        raise SettingsError((NO_DISK,))
    return usher


def _maintenance(context: Context) -> dict[str, Any]:
    """Take steps while there is more to do, and time."""
    try:
        step = _usher().maintenance.step
        while step():
            if context.get_remaining_time_in_millis() < SPARE_MS:
                return {"done": False}
    except Exception as error:
        get_logger().error("maintenance.failed", **describe(error))
        raise
    return {"done": True}


def _load_all() -> None:
    """Load whatever a request may need; opens no connection, for none outlives a snapshot.

    Raises:
        SettingsError, PolicyError: no version is published then.
    """
    usher = _usher()
    _ = usher.policy, usher.webhooks, usher.store, usher.auth
    routes.load()


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
    _load_all()
