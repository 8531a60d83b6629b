"""The WSGI application: functions by their URL, health and readiness.

Served by Granian; any other WSGI server works as well.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from importlib import import_module
from typing import Any, Final

from core import app
from core.errors import (
    BodyTooLargeError,
    MethodNotAllowedError,
    NotFoundError,
    RequestError,
    UsherError,
)
from core.strict_json import dumps
from functions._shared.http import Response, problem_response
from functions._shared.identity_hook import log_failure
from runtime.body import read_body

Environ = Mapping[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Handler = Callable[[Mapping[str, Any], object], dict[str, Any]]

FUNCTIONS_PREFIX: Final = "/.netlify/functions/"
FUNCTIONS: Final = (
    "identity",
    "identity-validate",
    "identity-signup",
    "identity-login",
    "identity-usermodified",
    "identity-userdeleted",
)
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
# Granian puts the process's environment into every request's; HTTP_PROXY is not a header.
_NOT_HEADERS = frozenset(name for name in os.environ if name.startswith("HTTP_"))


def load_functions() -> dict[str, Handler]:
    """Every function by its path: hyphens in the URL, underscores in the file, as Netlify does."""
    return {
        FUNCTIONS_PREFIX + name: import_module(f"functions.{name.replace('-', '_')}").handler
        for name in FUNCTIONS
    }


class Application:
    """The WSGI application.

    Args:
        max_body_bytes: a larger body is answered 413 and not read whole.
    """

    def __init__(self, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._functions = load_functions()
        self._probes: dict[str, Callable[[], Response]] = {
            "/healthz": _healthz,
            "/readyz": _readyz,
        }

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        try:
            answer = self._answer(environ)
        except UsherError as error:
            answer = problem_response(error).to_dict()
        except Exception as error:
            log_failure(error)
            answer = problem_response(UsherError()).to_dict()
        body = answer["body"].encode()
        headers = list(answer["headers"].items())
        # Never chunked: Identity reads an answer's body only when it announces its length.
        headers.append(("Content-Length", str(len(body))))
        start_response(_STATUS_LINES[answer["statusCode"]], headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]

    def _answer(self, environ: Environ) -> dict[str, Any]:
        path = environ["PATH_INFO"]
        handler = self._functions.get(path)
        if handler is not None:
            return handler(_to_event(environ, path, self._max_body_bytes), None)
        probe = self._probes.get(path)
        if probe is None:
            raise NotFoundError
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            raise MethodNotAllowedError(environ["REQUEST_METHOD"], ("GET", "HEAD"))
        return probe().to_dict()


def _to_event(environ: Environ, path: str, max_body_bytes: int) -> dict[str, Any]:
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") and name not in _NOT_HEADERS
    }
    headers["content-type"] = environ.get("CONTENT_TYPE", "")
    raw = _body(environ, max_body_bytes)
    try:
        body, is_base64 = raw.decode(), False
    except UnicodeDecodeError:
        body, is_base64 = base64.b64encode(raw).decode(), True
    return {
        "httpMethod": environ["REQUEST_METHOD"],
        "path": path,
        "rawQuery": environ.get("QUERY_STRING", ""),
        "headers": headers,
        "body": body,
        "isBase64Encoded": is_base64,
    }


def _body(environ: Environ, max_body_bytes: int) -> bytes:
    announced = environ.get("CONTENT_LENGTH") or None
    if announced is not None:
        if not announced.isdecimal():
            raise RequestError("Content-Length is not a number.")
        if len(announced) > 12 or int(announced) > max_body_bytes:
            raise BodyTooLargeError(max_body_bytes)
    elif environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        return b""
    body = read_body(environ["wsgi.input"], max_body_bytes)
    if announced is not None and len(body) != int(announced):
        raise RequestError("The body is shorter than Content-Length says.")
    return body


def _healthz() -> Response:
    """The process is alive; says nothing of anything else."""
    return Response(200, dumps({"status": "ok"}), "application/json")


def _readyz() -> Response:
    """An event could be processed now.

    Raises:
        DatabaseError, PolicyError, SettingsError: what is in the way.
    """
    usher = app.current()
    usher.store.database.check()
    return Response(
        200, dumps({"status": "ok", "policy": usher.policy.fingerprint}), "application/json"
    )
