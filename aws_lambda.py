"""AWS Lambda: function URLs, HTTP APIs (both payload formats) and REST APIs of API Gateway.

Each platform's changes to a request are undone here, so that every address, header and byte
reaches the functions as over the server. Settings come from the environment alone. Modules are
loaded when they are needed; before a SnapStart snapshot all are, since then no request waits.

docs/deploy.md, "AWS Lambda", says which platform decodes the path, and how it joins headers.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

from msgspec.structs import replace

from usher.core import app
from usher.core.app import App
from usher.core.errors import RequestError, SettingsError
from usher.core.log import describe, get_logger
from usher.core.settings import DOOR_WITHOUT_LIMIT
from usher.functions._shared.failure import failure
from usher.functions._shared.http import Request, read_body
from usher.server import routes

if TYPE_CHECKING:
    from usher.core.auth import TrustedCaller

NO_DISK: Final = (
    "USHER_DATABASE_URL is a SQLite file. Lambda has no disk that stays, so what was answered "
    "would be lost: use postgresql+psycopg://"
)


class Context(Protocol):
    """Lambda's context of an invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends the invocation."""


def handler(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Answer one HTTP request, or do maintenance for the event ``{"usher": "maintenance"}``.

    Raises:
        RequestError: the event comes from something else, such as a queue.
    """
    if event.get("usher") == "maintenance":
        return _maintenance(context)
    request = read_request(event)
    try:
        answer = routes.answer(request, _trusted(_usher(), event, request))
    except Exception as error:
        answer = failure(error)
    return answer.to_dict(request.method)


def read_request(event: Mapping[str, Any]) -> Request:
    """Read the HTTP request in an event.

    Raises:
        RequestError: the event is no HTTP request, or its body is not valid base64.
    """
    about = event.get("requestContext") or {}
    if event.get("version") == "2.0" and "http" in about:
        method = about["http"]["method"]
        headers = {name.lower(): (value,) for name, value in (event.get("headers") or {}).items()}
        if event.get("cookies"):
            headers["cookie"] = ("; ".join(event["cookies"]),)
        return Request(
            method=method,
            path=_path(event["rawPath"], about, ".lambda-url." in about.get("domainName", "")),
            headers=headers,
            body=read_body(event, method),
            query=event.get("rawQueryString") or "",
        )
    if "httpMethod" in event:
        path = _path(event["path"], about, "version" not in event)
        return replace(Request.from_event(event), path=path)
    raise RequestError("The event is no HTTP request of a function URL or an API Gateway.")


def _trusted(usher: App, event: Mapping[str, Any], request: Request) -> TrustedCaller | None:
    if not usher.settings.trust_platform or not routes.is_api(request.path):
        return None
    from usher.core.platform_callers import caller_of_gateway  # noqa: PLC0415 - events need none

    return caller_of_gateway(event, usher.settings)


def _path(path: str, about: Mapping[str, Any], encoded: bool) -> str:
    """Return the path without the stage, decoded once.

    Args:
        encoded: the path is still encoded and has no stage (REST APIs and function URLs).
    """
    if encoded:
        return unquote(path)
    stage = f"/{about.get('stage', '')}"
    return path.removeprefix(stage) if path.startswith(f"{stage}/") else path


def _usher() -> App:
    """Return the App.

    Raises:
        SettingsError: settings are unusable, name a database that Lambda would lose, or open the
            door without a limit.
    """
    usher = app.current()
    if usher.settings.database_scheme == "sqlite":
        raise SettingsError((NO_DISK,))
    if usher.settings.door and not usher.settings.door_limit:
        raise SettingsError((DOOR_WITHOUT_LIMIT,))
    return usher


def _maintenance(context: Context) -> dict[str, Any]:
    """Run all that a server does beside its requests, while there is time."""
    from usher.core import scheduled  # noqa: PLC0415 - requests need it not

    try:
        usher = _usher()
    except Exception as error:
        get_logger().error("maintenance.failed", **describe(error))
        raise
    return scheduled.run(usher, lambda: context.get_remaining_time_in_millis() / 1000)


def _load_all() -> None:
    """Load everything a request may need. No connection is opened: none outlives a snapshot.

    Raises:
        SettingsError, PolicyError: Lambda then publishes no version.
    """
    usher = _usher()
    _ = usher.policy, usher.webhooks, usher.auth
    if usher.settings.trust_platform:
        from usher.core import platform_callers  # noqa: F401, PLC0415 - others need none
    usher.store.load()
    routes.load()


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
    _load_all()
