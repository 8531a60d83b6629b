"""Ways to send the table's requests: to the handlers themselves, and over HTTP byte by byte."""

from __future__ import annotations

import base64
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any
from urllib.parse import unquote

from tests.contract.cases import Answer, Case
from usher.functions._shared.http import Request
from usher.server import routes

Runtime = Callable[[Case], Answer]


def direct(case: Case) -> Answer:
    """Hand the request to the function at its path, as Netlify's event."""
    path, _, query = case.target.partition("?")
    headers: dict[str, list[str]] = {}
    for name, value in case.headers:
        headers.setdefault(name, []).append(value)
    event = {
        "httpMethod": case.method,
        "path": unquote(path, errors="replace"),
        "rawQuery": query,
        "multiValueHeaders": headers,
        "body": base64.b64encode(case.body).decode(),
        "isBase64Encoded": True,
    }
    request = Request.from_event(event)
    return of(routes.answer(request).to_dict(request.method))


def of(answer: dict[str, Any]) -> Answer:
    """A function's answer as a client gets it."""
    body = answer["body"]
    octets = base64.b64decode(body) if answer["isBase64Encoded"] else body.encode()
    headers = tuple((name.lower(), value) for name, value in answer["headers"].items())
    return Answer(answer["statusCode"], headers, octets)


def over_http(port: int) -> Runtime:
    """Send the request as it is to a server on loopback; each on a connection of its own."""

    def send(case: Case) -> Answer:
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.putrequest(case.method, case.target, skip_accept_encoding=True)
            for name, value in case.headers:
                connection.putheader(name, value)
            if case.body or case.method not in ("GET", "HEAD", "OPTIONS"):
                connection.putheader("Content-Length", str(len(case.body)))
            connection.endheaders(case.body)
            with connection.getresponse() as response:
                headers = tuple((name.lower(), value) for name, value in response.getheaders())
                answer = Answer(response.status, headers, response.read())
        finally:
            connection.close()
        if answer.body:
            assert ("content-length", str(len(answer.body))) in answer.headers
        return answer

    return send
