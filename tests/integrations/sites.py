"""The examples of docs/guards.md as applications, and calls of them without a server between."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from tests.support import ROOT

Headers = Iterable[tuple[str, str]]
FRAMEWORKS = {
    "FastAPI": "asgi",
    "Flask": "wsgi",
    "Django": "wsgi",
    "Django by ASGI": "asgi",
    "Plain ASGI": "asgi",
    "Plain WSGI": "wsgi",
}
"""Each framework, with the interface of its applications."""


@dataclass(frozen=True)
class Answer:
    """An application's answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a refusal; FastAPI has the document in ``detail``."""
        document = self.json
        inner = document.get("detail")
        code: str = (inner if isinstance(inner, dict) else document)["code"]
        return code


def example(heading: str) -> str:
    """The first Python block below a heading of docs/guards.md."""
    page = (ROOT / "docs" / "guards.md").read_text()
    section = page.partition(f"\n## {heading}\n")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found, heading
    return found[1]


@cache
def module(framework: str) -> ModuleType:
    """The example of a framework, as a module of this process."""
    heading = framework.removesuffix(" by ASGI")
    name = f"example_{heading.lower().replace(' ', '_')}"
    made = ModuleType(name)
    sys.modules[name] = made  # by name Django finds its URLs, FastAPI its annotations
    exec(compile(example(heading), f"docs/guards.md, {heading}", "exec"), made.__dict__)
    return made


@cache
def application(framework: str) -> Any:
    """The application of a framework's example."""
    found = module(framework)
    if not framework.startswith("Django"):
        return found.app
    from django.conf import settings

    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=found.__name__,
            ALLOWED_HOSTS=["*"],
            MIDDLEWARE=["usher.integrations.django.middleware"],
            DEFAULT_CHARSET="utf-8",
            LOGGING_CONFIG=None,
        )
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application

    made = get_asgi_application if framework == "Django by ASGI" else get_wsgi_application
    return made()


def call(
    framework: str, method: str, path: str, *headers: tuple[str, str], peer: str = "127.0.0.1"
) -> Answer:
    """One request, whose headers are sent as they are, repeated ones included."""
    if FRAMEWORKS[framework] == "asgi":
        return asyncio.run(call_asgi(application(framework), method, path, headers, peer=peer))
    return call_wsgi(application(framework), method, path, headers, peer)


def call_wsgi(app: Any, method: str, path: str, headers: Headers, peer: str = "") -> Answer:
    """One request as a WSGI server makes it: it joins repeated headers."""
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "site.example",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": peer or "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers:
        key = f"HTTP_{name.upper().replace('-', '_')}"
        text = value.encode().decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    begun: list[Any] = []
    chunks = app(environ, lambda status, fields, *_: begun.extend([status, fields]))
    body = b"".join(chunks)
    if hasattr(chunks, "close"):
        chunks.close()
    fields = {name.lower(): value for name, value in begun[1]}
    return Answer(int(begun[0].partition(" ")[0]), fields, body)


async def call_asgi(
    app: Callable[..., Awaitable[None]],
    method: str,
    path: str,
    headers: Headers,
    *,
    peer: str = "127.0.0.1",
    kind: str = "http",
) -> Answer:
    """One request as an ASGI server makes it; a WebSocket's refusal is 403, as servers have it."""
    scope: dict[str, Any] = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
        "client": (peer, 1234),
        "server": ("site.example", 80),
    }
    scope["method" if kind == "http" else "subprotocols"] = method if kind == "http" else []
    told: list[Any] = [
        {"type": "http.request", "body": b"", "more_body": False}
        if kind == "http"
        else {"type": "websocket.connect"}
    ]
    sent: list[Any] = []

    async def receive() -> Any:
        while not told:  # the client stays, and says no more
            await asyncio.Event().wait()
        return told.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if kind == "websocket":
        accepted = [message["type"] for message in sent][:1] == ["websocket.accept"]
        return Answer(101 if accepted else 403, {}, json.dumps(sent, default=str).encode())
    fields = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], fields, b"".join(each.get("body", b"") for each in sent[1:]))
