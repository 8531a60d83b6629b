"""AWS's ways to hand a request to a function, and its answer to a client, as AWS documents them.

- REST API (payload format 1.0): the path encoded and without its stage, query and headers decoded
  and in lists; every body in base64, as the template has it (``BinaryMediaTypes: */*``).
- HTTP API (1.0 or 2.0): the path decoded, with its stage in front, and cut at a question mark.
- Function URL (2.0): the path encoded; there is no stage.
- Format 2.0 has names of headers in lower case, repeated ones joined by commas, cookies apart.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

from tests.contract.cases import RENAMED_HEADERS, Answer, Case
from tests.contract.runtimes import of

Gateway = Callable[[Case], dict[str, Any]]


def rest(case: Case) -> dict[str, Any]:
    """A REST API's event, at the stage ``prod``."""
    path, _, query = case.target.partition("?")
    return _format_1(case, path, query, "prod") | {
        "body": base64.b64encode(case.body).decode() if case.body else None,
        "isBase64Encoded": bool(case.body),
    }


def http1(case: Case) -> dict[str, Any]:
    """An HTTP API's event in format 1.0, at the stage ``live``."""
    path, _, query = case.target.partition("?")
    decoded = unquote(path).partition("?")[0]
    return {"version": "1.0", **_format_1(case, f"/live{decoded}", query, "live")}


def http(case: Case) -> dict[str, Any]:
    """An HTTP API's event in format 2.0, at the stage ``live``."""
    path, _, query = case.target.partition("?")
    decoded = unquote(path).partition("?")[0]
    return _format_2(case, f"/live{decoded}", query, "live", "abc.execute-api")


def url(case: Case) -> dict[str, Any]:
    """A function URL's event."""
    path, _, query = case.target.partition("?")
    return _format_2(case, path, query, "$default", "abc.lambda-url")


GATEWAYS: Final[Mapping[str, Gateway]] = {"rest": rest, "http1": http1, "http": http, "url": url}


def received(name: str, case: Case, result: dict[str, Any]) -> Answer:
    """What the client of a gateway gets of a function's answer."""
    answer = of(result)
    names = RENAMED_HEADERS.get(name, {})
    headers = tuple((names.get(key, key), value) for key, value in answer.headers)
    return Answer(answer.status, headers, answer.body)


def _format_1(case: Case, path: str, query: str, stage: str) -> dict[str, Any]:
    headers: dict[str, list[str]] = {}
    for name, value in (("Host", "site.example"), *case.headers):
        headers.setdefault(name, []).append(value)
    values: dict[str, list[str]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values.setdefault(name, []).append(value)
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": case.method,
        "headers": {name: found[-1] for name, found in headers.items()},
        "multiValueHeaders": headers,
        "queryStringParameters": {name: v[-1] for name, v in values.items()} or None,
        "multiValueQueryStringParameters": values or None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {"stage": stage, "path": f"/{stage}{path}", "httpMethod": case.method},
        **_body(case),
    }


def _format_2(case: Case, path: str, query: str, stage: str, host: str) -> dict[str, Any]:
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in (("Host", "site.example"), *case.headers):
        key = name.lower()
        if key == "cookie":
            cookies += value.split("; ")
        else:
            headers[key] = f"{headers[key]},{value}" if key in headers else value
    domain = f"{host}.eu-central-1.amazonaws.com"
    about = {"method": case.method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        **({"cookies": cookies} if cookies else {}),
        "headers": headers,
        "requestContext": {"stage": stage, "domainName": domain, "http": about},
        **_body(case),
    }


def _body(case: Case) -> dict[str, Any]:
    """Text as it is, anything else in base64; nothing where there is none."""
    if not case.body:
        return {"isBase64Encoded": False}
    try:
        return {"body": case.body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(case.body).decode(), "isBase64Encoded": True}
